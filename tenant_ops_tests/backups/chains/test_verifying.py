"""Verifying a chain: all a backup needs is read, each file once, and the catalog is told of each link."""

from pathlib import Path

import pytest

from tenant_ops.backups import find_backup, list_backups, verify_backup, verify_backups
from tenant_ops.backups.reading import Archive
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.chains.conftest import Report, run


@pytest.fixture
def chain(fleet: Fleet, shop: Tenant, report: Report) -> list[str]:
    """A full backup and three incrementals."""
    ids = [report(shop).backup_id]
    for number in range(3):
        run(
            fleet,
            shop,
            f"INSERT INTO sale (customer, amount) VALUES (1, {number}); INSERT INTO word VALUES ('x')",
        )
        ids.append(report(shop).backup_id)
    return ids


def flip(fleet: Fleet, backup_id: str, pattern: str) -> str:
    """Change a bit in the middle of a file of a backup; the file's path in it."""
    folder = Path(find_backup(fleet, backup_id).path)
    path = next(folder.glob(pattern))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path.relative_to(folder).as_posix()


@pytest.mark.parametrize("level", ["quick", "full"])
def test_a_tip_is_verified_with_all_it_builds_on(fleet: Fleet, chain: list[str], level: str) -> None:
    verdict = verify_backup(fleet, find_backup(fleet, chain[2]), level=level)
    assert (verdict.problems, verdict.sound) == ((), True)
    assert verdict.chain == tuple(chain[:3])
    assert [find_backup(fleet, backup_id).verified_level for backup_id in chain] == [level] * 3 + [None]


def test_a_quick_look_takes_nothing_from_a_full_one(fleet: Fleet, chain: list[str]) -> None:
    verify_backup(fleet, find_backup(fleet, chain[0]))
    before = find_backup(fleet, chain[0])
    verify_backup(fleet, before, level="quick")
    assert find_backup(fleet, chain[0]) == before


def test_files_are_read_once_however_many_backups_need_them(
    fleet: Fleet, shop: Tenant, chain: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, str]] = []
    real = Archive._open

    def counted(self: Archive, member):
        read.append((self.id, member.path))
        return real(self, member)

    monkeypatch.setattr(Archive, "_open", counted)
    verdicts = verify_backups(fleet, list_backups(fleet, shop))
    assert all(verdict.sound for verdict in verdicts)
    assert [len(verdict.chain) for verdict in verdicts] == [4, 3, 2, 1]
    assert all(read.count(name) <= 2 for name in read), "once for the hash, and once for the content of rows"


@pytest.mark.parametrize("level", ["quick", "full"])
def test_damage_in_the_middle_of_a_chain_is_named_and_noted_there_alone(
    fleet: Fleet, chain: list[str], level: str
) -> None:
    changed = flip(fleet, chain[1], "journal/*")
    verdict = verify_backup(fleet, find_backup(fleet, chain[3]), level=level)
    assert not verdict.sound
    assert f"backup {chain[1]}, {changed}" in verdict.problems[0]
    assert len(verdict.problems) == 1
    records = [find_backup(fleet, backup_id) for backup_id in chain]
    assert [record.damage is not None for record in records] == [False, True, False, False]
    assert [record.verified_level for record in records] == [level, None, None, None]
    assert verify_backup(fleet, records[0]).sound
    assert not verify_backup(fleet, records[2]).sound, "it builds on the damaged one"


def test_damage_in_the_base_is_told_once_though_all_refer_to_it(fleet: Fleet, chain: list[str]) -> None:
    changed = flip(fleet, chain[0], "data/*customer*")
    (verdict,) = verify_backups(fleet, [find_backup(fleet, chain[3])])
    assert verdict.problems == (f"backup {chain[0]}, {changed}: its hash is not the one in the manifest.",)


def test_what_was_put_right_again_needs_a_full_look_to_count(fleet: Fleet, chain: list[str]) -> None:
    flip(fleet, chain[0], "data/*customer*")
    verify_backup(fleet, find_backup(fleet, chain[0]))
    flip(fleet, chain[0], "data/*customer*")
    assert verify_backup(fleet, find_backup(fleet, chain[0]), level="quick").sound
    assert find_backup(fleet, chain[0]).damage is not None
    assert verify_backup(fleet, find_backup(fleet, chain[0])).sound
    assert find_backup(fleet, chain[0]).damage is None


def test_a_backup_that_is_not_there_or_whose_key_is_not_is_unsound_but_not_damaged(
    fleet: Fleet, chain: list[str]
) -> None:
    path = Path(find_backup(fleet, chain[3]).path)
    path.rename(path.with_name("away"))
    assert not verify_backup(fleet, find_backup(fleet, chain[3])).sound
    assert find_backup(fleet, chain[3]).damage is None
