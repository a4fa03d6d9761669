"""Quarantined rows are removed only when told which, and can be put back."""

import stat
from pathlib import Path

import pytest

from tenant_ops.audit import history
from tenant_ops.loading import drop_quarantine, plan_drop, undo_drop
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.quarantine.conftest import ids
from tenant_ops_tests.loading.shop import Shop


def test_the_plan_counts_and_changes_nothing(bad: Shop) -> None:
    before = bad.quarantine()
    plan = plan_drop(bad.fleet, bad.tenant, dataset="customers")
    assert (plan.rows, len(plan.counts)) == (4, 4)
    assert plan_drop(bad.fleet, bad.tenant, dataset="orders").rows == 0
    assert bad.quarantine() == before


def test_a_row_goes_with_all_its_entries_when_one_has_the_reason(bad: Shop) -> None:
    report = drop_quarantine(bad.fleet, plan_drop(bad.fleet, bad.tenant, reason="not one of gold, silver"))
    assert report.rows == 1
    assert [entry["line"] for entry in bad.quarantine()] == [4, 6, 5]


def test_dropped_rows_are_kept_in_a_file_only_the_owner_can_read(bad: Shop) -> None:
    report = drop_quarantine(bad.fleet, plan_drop(bad.fleet, bad.tenant, ids=ids(bad)[:2]))
    path = Path(report.path)
    assert path.parent == bad.fleet.files(bad.tenant) / "quarantine"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with bad.fleet.control.transaction() as connection:
        (event,) = history(connection, str(bad.tenant.id), limit=1)
    assert event.action == "quarantine.drop"
    assert event.detail == {"rows": 2, "dataset": None, "reason": None, "file": path.name}


def test_undoing_puts_every_entry_back_as_it_was_and_once(bad: Shop) -> None:
    before = bad.quarantine()
    report = drop_quarantine(bad.fleet, plan_drop(bad.fleet, bad.tenant, dataset="customers"))
    assert bad.quarantine() == []
    assert undo_drop(bad.fleet, bad.tenant, Path(report.path)).rows == 4
    assert undo_drop(bad.fleet, bad.tenant, Path(report.path)).rows == 0
    assert bad.quarantine() == before
    assert bad.load(source=None, replay=True).quarantined == 3


def test_nothing_to_drop_writes_no_file(bad: Shop) -> None:
    report = drop_quarantine(bad.fleet, plan_drop(bad.fleet, bad.tenant, dataset="orders"))
    assert (report.rows, report.path) == (0, "")
    assert list((bad.fleet.files(bad.tenant) / "quarantine").iterdir()) == []


def test_which_rows_must_be_said(bad: Shop) -> None:
    with pytest.raises(InputError, match="nothing says which rows to drop"):
        plan_drop(bad.fleet, bad.tenant)
    with pytest.raises(InputError, match="no row 99999"):
        plan_drop(bad.fleet, bad.tenant, ids=[99999])


def test_rows_of_a_load_that_is_not_merged_are_left_to_it(shop: Shop) -> None:
    shop.csv("customers.csv", [("x", "a")], ("id", "name"))
    shop.stage("customers")
    assert plan_drop(shop.fleet, shop.tenant, dataset="customers").rows == 0
    with pytest.raises(InputError, match="no row"):
        plan_drop(shop.fleet, shop.tenant, ids=ids(shop))


def test_a_drop_never_reaches_another_tenants_rows(bad: Shop, neighbour: Shop) -> None:
    only_here = max(set(ids(bad)) - set(ids(neighbour)))
    with pytest.raises(InputError, match="no row"):
        plan_drop(bad.fleet, neighbour.tenant, ids=[only_here])
    drop_quarantine(bad.fleet, plan_drop(bad.fleet, neighbour.tenant, dataset="customers"))
    assert (len(ids(bad)), neighbour.quarantine()) == (4, [])


def test_rows_are_not_put_back_into_another_tenant(bad: Shop, neighbour: Shop) -> None:
    report = drop_quarantine(bad.fleet, plan_drop(bad.fleet, bad.tenant, dataset="customers"))
    before = neighbour.quarantine()
    with pytest.raises(InputError, match="its rows are not those of tenant globex"):
        undo_drop(bad.fleet, neighbour.tenant, Path(report.path))
    assert neighbour.quarantine() == before


@pytest.mark.parametrize("content", [b"", b"id,name\n", b"{}\n", b"[1]\n"])
def test_a_file_that_dropping_did_not_write_is_refused(bad: Shop, content: bytes) -> None:
    with pytest.raises(InputError, match="did not write this file"):
        undo_drop(bad.fleet, bad.tenant, bad.write("other.ndjson", content))


def test_a_damaged_file_puts_nothing_back(bad: Shop) -> None:
    report = drop_quarantine(bad.fleet, plan_drop(bad.fleet, bad.tenant, dataset="customers"))
    path = Path(report.path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="the file was changed and cannot be read"):
        undo_drop(bad.fleet, bad.tenant, path)
    assert bad.quarantine() == []


def test_a_folder_that_leads_elsewhere_is_not_written_to(bad: Shop) -> None:
    files = bad.fleet.files(bad.tenant)
    files.mkdir(parents=True, exist_ok=True)
    (files / "quarantine").symlink_to(bad.folder)
    with pytest.raises(InputError, match="a link, which may lead anywhere"):
        drop_quarantine(bad.fleet, plan_drop(bad.fleet, bad.tenant, dataset="customers"))
    assert len(ids(bad)) == 4
