"""Another master key: everything the old one wraps is wrapped by the new one, and the old one can go."""

import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tenant_ops.audit import history
from tenant_ops.backups import (
    BackupRecord,
    execute_backup,
    execute_master_rotation,
    execute_rotation,
    plan_backup,
    plan_master_rotation,
    plan_rotation,
    verify_backup,
)
from tenant_ops.backups.catalog import open_backup
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.keys import find_master_key, key_path
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, login_password, provision
from tenant_ops_tests.backups.test_faults import Killed, run_killed
from tenant_ops_tests.platform.key_server import SERVICE

Take = Callable[..., BackupRecord]
NEW = "a passphrase that is new"


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """A fleet of this test's own: its master key changes."""
    fleet = Fleet.open(settings)
    yield fleet
    fleet.close()


@pytest.fixture
def both(fleet: Fleet) -> Fleet:
    """The fleet as it is configured while the master key is replaced."""
    return with_settings(fleet, backup_key=NEW, previous_backup_key_file=str(key_path(fleet.settings)))


@pytest.fixture
def tenants(new_tenant: Callable[..., Tenant]) -> list[Tenant]:
    return [new_tenant("acme"), new_tenant("globex")]


def with_settings(fleet: Fleet, **changes) -> Fleet:
    return replace(fleet, settings=replace(fleet.settings, **changes))


def alone(fleet: Fleet) -> Fleet:
    """The fleet afterwards: nobody has the old key any more."""
    return with_settings(fleet, backup_key=NEW)


def masters(fleet: Fleet) -> set[str]:
    """Which master keys wrap anything."""
    with fleet.control.transaction() as connection:
        found = {
            row[0]
            for row in connection.execute(
                "SELECT master_key_id FROM tenant_ops.tenant_key WHERE destroyed_at IS NULL"
            )
        }
    for path in Path(fleet.settings.backup_path).glob("*/keys/*.json"):
        found.add(json.loads(path.read_bytes())["master_key_id"])
    return found


def test_everything_opens_with_the_new_key_alone(
    fleet: Fleet, both: Fleet, tenants: list[Tenant], take: Take
) -> None:
    backups = [take(tenant) for tenant in tenants]
    execute_rotation(fleet, plan_rotation(fleet, tenants[0]))
    passwords = [login_password(fleet, tenant) for tenant in tenants]
    hashing = [fleet.column_key(tenant) for tenant in tenants]
    plan = plan_master_rotation(both)
    assert (plan.tenants, plan.tenant_keys, plan.key_files, plan.credentials) == (2, 2, 2, 2)
    assert (plan.problems, len(masters(fleet))) == ((), 1)
    report = execute_master_rotation(both, plan)
    assert (report.tenant_keys, report.key_files, report.credentials) == (2, 2, 2)
    assert (report.finished, report.problems) == (True, ())
    key_path(fleet.settings).unlink()
    after = alone(fleet)
    assert masters(after) == {plan.new_master}
    assert all(verify_backup(after, backup).sound for backup in backups)
    assert [login_password(after, tenant) for tenant in tenants] == passwords
    assert [after.column_key(tenant) for tenant in tenants] == hashing
    with fleet.control.transaction() as connection:
        (event,) = history(connection, "keys")
    assert (event.action, event.actor, event.detail["finished"]) == ("key.master_rotated", "tester", True)


def test_doing_it_again_finds_nothing_to_do(both: Fleet, tenants: list[Tenant], take: Take) -> None:
    take(tenants[0])
    execute_master_rotation(both, plan_master_rotation(both))
    plan = plan_master_rotation(both)
    assert (plan.tenant_keys, plan.key_files) == (0, 0)
    report = execute_master_rotation(both, plan)
    assert (report.tenant_keys, report.key_files, report.credentials, report.finished) == (0, 0, 0, True)


def rotate_until_killed(settings: Settings, at: int) -> None:
    fleet = Fleet.open(settings)
    plan = plan_master_rotation(fleet)
    killed = Killed(at)
    Path.replace = killed.before(Path.replace)
    psycopg.Cursor.execute = killed.before(psycopg.Cursor.execute)
    execute_master_rotation(fleet, plan)


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_everything_opens_with_the_two_keys_and_another_run_finishes(
    fleet: Fleet, both: Fleet, tenants: list[Tenant], take: Take, step: int
) -> None:
    backups = [take(tenant) for tenant in tenants]
    passwords = [login_password(fleet, tenant) for tenant in tenants]
    at, here, mixed = 0, both, False
    while run_killed(rotate_until_killed, here.settings, at):
        for backup in backups:
            open_backup(here, backup)
        assert [login_password(here, tenant) for tenant in tenants] == passwords
        mixed = mixed or len(masters(fleet)) == 2
        assert execute_master_rotation(here, plan_master_rotation(here)).finished
        here, at = other_way(here), at + step
    assert mixed
    assert at >= 2 * step


def other_way(fleet: Fleet) -> Fleet:
    """From the new master key back to the old one, or the other way round."""
    if fleet.settings.backup_key:
        return with_settings(fleet, backup_key=None, previous_backup_key_file=None, previous_backup_key=NEW)
    path = str(key_path(fleet.settings))
    return with_settings(fleet, backup_key=NEW, previous_backup_key_file=path, previous_backup_key=None)


def test_a_key_service_takes_the_place_of_a_key_file(
    fleet: Fleet,
    tenants: list[Tenant],
    take: Take,
    key_server: subprocess.Popen[str],
) -> None:
    backup, password = take(tenants[0]), login_password(fleet, tenants[0])
    home_key = key_path(fleet.settings)
    served = with_settings(fleet, backup_key_service=SERVICE)
    both = with_settings(served, previous_backup_key_file=str(home_key))
    report = execute_master_rotation(both, plan_master_rotation(both))
    assert (report.finished, report.new_master) == (True, "http-key-1")
    home_key.unlink()
    provision(served, "initech")
    made = execute_backup(served, plan_backup(served, served.registry.get("initech")))
    assert made.encrypted
    assert masters(served) == {"http-key-1"}
    assert execute_rotation(served, plan_rotation(served, tenants[0])).destroyed
    assert verify_backup(served, backup).sound
    assert login_password(served, tenants[0]) == password
    key_server.kill()
    key_server.wait()
    before = sorted(Path(fleet.settings.backup_path).rglob("*"))
    for attempt in (
        lambda: plan_backup(served, tenants[0]),
        lambda: open_backup(served, backup),
        lambda: plan_rotation(served, tenants[0]),
        lambda: provision(served, "hooli"),
    ):
        with pytest.raises(OperationFailed, match="the key service did not answer"):
            attempt()
    assert sorted(Path(fleet.settings.backup_path).rglob("*")) == before
    assert not home_key.exists(), "no key of our own takes its place"


def test_what_a_third_key_wraps_is_named_and_the_rest_is_done(
    both: Fleet, tenants: list[Tenant], take: Take
) -> None:
    mine, theirs = take(tenants[0]), take(tenants[1])
    path = next((Path(theirs.path).parent / "keys").iterdir())
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps(record | {"master_key_id": "0123456789abcdef"}))
    report = execute_master_rotation(both, plan_master_rotation(both))
    assert not report.finished
    (problem,) = report.problems
    assert (problem.where, problem.problem) == (str(path), "master key 0123456789abcdef wraps it")
    assert report.tenant_keys == 2
    open_backup(alone(both), mine)


def test_keys_of_a_tenant_only_its_store_remembers_are_wrapped_anew_too(
    fleet: Fleet, both: Fleet, tenants: list[Tenant], take: Take
) -> None:
    """The control plane was lost and begun again; the store still holds what it knew."""
    backup = take(tenants[0])
    folder = Path(backup.path).parent
    stranger = shutil.copytree(folder, folder.with_name(str(uuid4())))
    report = execute_master_rotation(both, plan_master_rotation(both))
    assert (report.key_files, report.finished) == (2, True)
    new = find_master_key(both.settings)
    (path,) = (stranger / "keys").iterdir()
    assert new is not None
    assert json.loads(path.read_bytes())["master_key_id"] == new.id


def test_without_both_keys_nothing_begins(fleet: Fleet, tenants: list[Tenant]) -> None:
    key = b64encode(bytes(32)).decode()
    for settings in (
        fleet.settings,
        replace(fleet.settings, backup_key=key),
        replace(fleet.settings, backup_key=key, previous_backup_key=key),
    ):
        with pytest.raises(InputError, match="must both be configured, and differ") as refused:
            plan_master_rotation(replace(fleet, settings=settings))
        assert key not in str(refused.value)
    assert [login_password(fleet, tenant) for tenant in tenants]
