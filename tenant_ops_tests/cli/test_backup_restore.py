"""Going back from the command line: to a backup, a moment, single tables, merged, and taking it back."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tenant_ops.backups import execute_backup, plan_backup
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import run_sql, songs
from tenant_ops_tests.cli.conftest import Outcome

DONE, BAD_INPUT = 0, 2
Run = Callable[..., Outcome]


@pytest.fixture
def played(fleet: Fleet, tenant: Tenant) -> Tenant:
    """A tenant with plays, backed up, most of which are gone since."""
    run_sql(
        fleet,
        tenant,
        "CREATE TABLE plays (id int PRIMARY KEY); INSERT INTO plays SELECT generate_series(1, 9)",
    )
    execute_backup(fleet, plan_backup(fleet, tenant))
    run_sql(fleet, tenant, "DELETE FROM plays WHERE id > 2")
    return tenant


def test_a_plan_is_shown_and_single_tables_come_back_and_are_taken_out_again(
    tenant_ops: Run, fleet: Fleet, played: Tenant
) -> None:
    shown = tenant_ops("backup", "restore", "--tenant-id", "acme", "--tables", "plays", "--dry-run", "--json")
    assert shown.code == DONE, shown.err
    (plan,) = shown.json["plans"]
    assert plan["mode"] == "tables"
    assert plan["conflicts"] == []
    assert [(one["table"], one["create"]) for one in plan["differences"]] == [("plays", 7)]
    assert songs(fleet, played) == 2

    done = tenant_ops("backup", "restore", "--tenant-id", "acme", "--tables", "plays", "--json")
    assert done.code == DONE, done.err
    assert songs(fleet, played) == 9
    assert tenant_ops("backup", "undo", "--tenant-id", "acme").code == DONE
    assert songs(fleet, played) == 2


def test_a_moment_becomes_another_tenant(tenant_ops: Run, fleet: Fleet, played: Tenant) -> None:
    now = datetime.now(UTC).isoformat()
    moment = ("--from-tenant", "acme", "--to", now)
    done = tenant_ops("backup", "restore", "--tenant-id", "acme_then", *moment, "--json")
    assert done.code == DONE, done.err
    assert "s before" in done.json["reports"][0]["body"]["granularity"]
    assert songs(fleet, fleet.registry.get("acme_then")) == 9


def test_what_a_restore_replaced_can_be_discarded(tenant_ops: Run, fleet: Fleet, played: Tenant) -> None:
    assert tenant_ops("backup", "restore", "--tenant-id", "acme").code == DONE
    assert tenant_ops("backup", "discard", "--tenant-id", "acme", "--json").json == {"dropped": []}
    dropped = tenant_ops("backup", "discard", "--tenant-id", "acme", "--keep", "0", "--json")
    assert len(dropped.json["dropped"]) == 1
    assert tenant_ops("backup", "undo", "--tenant-id", "acme").code == BAD_INPUT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "2026-11-20T14:03:00"], "no time zone"),
        (["--to", "noon"], "no time"),
        (["--to", "2020-01-01T00:00:00Z"], "before its first backup"),
        (["--to", "2099-01-01T00:00:00Z"], "future"),
        (["--to", "2026-11-20T14:03:00Z", "--before-transaction", "7"], "more than one"),
        (["--before-transaction", "3"], "no chain"),
        (["--mode", "sideways"], "sideways"),
        (["--mode", "new"], "exists"),
        (["--mode", "tables"], "tables are named"),
        (["--tables", "songs"], "no table songs"),
        (["--mode", "merge", "--merge", "shuffle"], "shuffle"),
        (["--mode", "merge", "--merge", ""], "nothing"),
    ],
)
def test_what_cannot_be_restored_is_a_sentence(
    tenant_ops: Run, fleet: Fleet, played: Tenant, arguments: list[str], said: str
) -> None:
    refused = tenant_ops("backup", "restore", "--tenant-id", "acme", *arguments)
    assert (refused.code, said in refused.err) == (BAD_INPUT, True), refused.err
    assert songs(fleet, played) == 2
