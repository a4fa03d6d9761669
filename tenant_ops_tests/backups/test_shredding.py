"""Once a tenant's keys are destroyed, no copy of any of its backups opens, wherever it lies."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tenant_ops.audit import verify_chain
from tenant_ops.backups import BackupRecord, find_backup, plan_restore, plan_rotation, shred, verify_backup
from tenant_ops.backups.catalog import open_backup
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, State, Tenant, offboard, plan_offboard
from tenant_ops_tests.backups.test_faults import run_killed
from tenant_ops_tests.backups.test_rotation import keys_of, rotate_until_killed
from tenant_ops_tests.backups.test_shipped_restore import run

Take = Callable[..., BackupRecord]


def test_no_copy_opens_and_the_certificate_says_what_was_destroyed(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    disk = str(tmp_path / "disk")
    backups = [take(small_tenant), take(small_tenant, output_path=disk), take(small_tenant)]
    plain = take(small_tenant, encryption=False)
    # Killed between two headers: some are wrapped by the new key, some by the one that retires.
    assert run_killed(rotate_until_killed, fleet.settings, small_tenant.slug, 3, True)
    current, retiring = keys_of(fleet, small_tenant)
    assert retiring
    copy = shutil.copytree(backups[0].path, tmp_path / "carried away" / backups[0].id)
    report = shred(fleet, small_tenant)
    assert set(report.key_ids) == {current, *retiring}
    assert (set(report.backups), report.plain_backups) == ({each.id for each in backups}, (plain.id,))
    assert (report.complete, report.unreachable, report.actor) == (True, (), "tester")
    assert report.key_files >= 3
    for backup in backups:
        with pytest.raises(InputError, match=r"neither beside the backup nor .* cannot be read again"):
            open_backup(fleet, backup)
        assert not list((Path(backup.path).parent / "keys").iterdir())
    with pytest.raises(InputError, match="cannot be read again"):
        plan_restore(fleet, find_backup(fleet, str(copy)), f"{small_tenant.slug}_copy")
    master = (fleet.settings.home / "keys" / "master.key").read_text().strip()
    by_hand = run(copy, "verify", str(copy), key=master)
    assert (by_hand.returncode, "the tenant's key is not there" in by_hand.stderr) == (1, True)
    assert verify_backup(fleet, plain).sound, "a plain backup has no key to destroy; the certificate names it"
    with fleet.control.transaction() as connection:
        assert verify_chain(connection, str(small_tenant.id)).intact
        row = connection.execute(
            "SELECT encode(hash, 'hex') FROM tenant_ops.audit_event WHERE chain = %s AND seq = %s",
            (report.tenant_id, report.audit_seq),
        ).fetchone()
    assert row == (report.audit_hash,)


def test_a_key_brought_back_without_its_master_key_opens_nothing(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    """Somebody copied the whole store: what is in it is wrapped by a master key he does not have."""
    backup = take(small_tenant)
    stolen = shutil.copytree(Path(backup.path).parent, tmp_path / "stolen")
    done = run(stolen / backup.id, "verify", str(stolen / backup.id), key="some passphrase or other")
    assert "master key at hand is not the one" in done.stderr


def test_a_store_that_is_away_is_said_and_shredding_again_finishes(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    here, there = take(small_tenant), take(small_tenant, output_path=str(tmp_path / "disk"))
    away = (tmp_path / "disk").rename(tmp_path / "unplugged")
    first = shred(fleet, small_tenant)
    assert (first.complete, first.unreachable) == (
        False,
        (f"{tmp_path / 'disk'}: [Errno 2] the store is not there",),
    )
    with pytest.raises(InputError, match="cannot be read again"):
        open_backup(fleet, here)
    away.rename(tmp_path / "disk")
    second = shred(fleet, small_tenant)
    assert (second.complete, second.key_files, second.key_ids) == (True, 1, first.key_ids)
    with pytest.raises(InputError, match="cannot be read again"):
        open_backup(fleet, there)
    assert shred(fleet, small_tenant).complete


def test_a_tenant_that_goes_without_a_last_copy_takes_its_keys_along(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    backups = [take(small_tenant), take(small_tenant, output_path=str(tmp_path / "disk"))]
    report = offboard(
        fleet, plan_offboard(fleet, small_tenant.slug), safety_copy=None, shred=partial(shred, fleet)
    )
    assert report.after == State.ERASED
    for backup in backups:
        with pytest.raises(InputError, match="cannot be read again"):
            open_backup(fleet, backup)


def test_other_tenants_backups_still_open(
    fleet: Fleet, small_tenant: Tenant, new_tenant: Callable[..., Tenant], take: Take
) -> None:
    other = new_tenant(f"{small_tenant.slug}_b")
    take(small_tenant)
    theirs = take(other)
    shred(fleet, small_tenant)
    assert verify_backup(fleet, theirs).sound
    with pytest.raises(InputError, match="no encryption key"):
        plan_rotation(fleet, replace(small_tenant))
