"""A chain is looked through from end to end without reading it; a safety copy builds on one that is whole."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_ops.backups import BackupRecord, find_backup, safety_copy
from tenant_ops.backups.drills import check_chain
from tenant_ops.backups.journal import remove
from tenant_ops.tenants import Fleet, Tenant


@pytest.fixture
def chain(fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]) -> list[BackupRecord]:
    """A full backup with a journal, and an incremental."""
    return [take(small_tenant, backup_type="incremental") for _ in range(2)]


def test_a_whole_chain_opens_from_end_to_end(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    found = check_chain(fleet, small_tenant)
    assert (found.whole, found.goes_on, found.backup_id, found.links) == (True, True, chain[1].id, 2)
    assert found.members > 2


def test_a_file_that_is_gone_or_cut_anywhere_in_the_chain_is_named(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    member = next(Path(chain[0].path).glob("data/*"))
    content = member.read_bytes()
    member.write_bytes(content[:-1])
    found = check_chain(fleet, small_tenant)
    said = f"backup {chain[0].id}: data/{member.name} has {len(content) - 1} bytes, not {len(content)}."
    assert (found.whole, found.problems) == (False, (said,))
    member.unlink()
    assert check_chain(fleet, small_tenant).problems[0].endswith("is not there.")


def test_a_base_that_is_gone_breaks_the_chain(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    shutil.rmtree(chain[0].path)
    found = check_chain(fleet, small_tenant)
    assert (found.whole, found.links) == (False, 0)


def test_a_journal_that_misses_changes_interrupts_but_does_not_break_it(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    remove(fleet, small_tenant)
    found = check_chain(fleet, small_tenant)
    assert (found.whole, found.goes_on) == (True, False)
    assert found.interruptions != ()


def test_a_tenant_without_a_backup_has_no_chain_to_break(fleet: Fleet, small_tenant: Tenant) -> None:
    found = check_chain(fleet, small_tenant)
    assert (found.whole, found.goes_on, found.backup_id) == (True, False, None)


def test_a_safety_copy_is_an_incremental_where_the_chain_is_whole(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    copy = find_backup(fleet, safety_copy(fleet, "cleanup")(small_tenant))
    assert (copy.type, copy.parent, copy.reason) == ("incremental", chain[1].id, "before cleanup")


@pytest.mark.parametrize("broken", ["file gone", "journal gone", "never taken"])
def test_a_safety_copy_is_full_where_it_is_not(
    fleet: Fleet, small_tenant: Tenant, request: pytest.FixtureRequest, broken: str
) -> None:
    if broken != "never taken":
        chain = request.getfixturevalue("chain")
        if broken == "file gone":
            next(Path(chain[0].path).glob("data/*")).unlink()
        else:
            remove(fleet, small_tenant)
    assert find_backup(fleet, safety_copy(fleet, "cleanup")(small_tenant)).type == "full"


def test_the_last_copy_of_a_tenant_stands_alone(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    assert find_backup(fleet, safety_copy(fleet, "offboard", alone=True)(small_tenant)).type == "full"
