"""For tests of your own rules: a tenant to try them on, faults planted in it, and what a rule finds.

Here: what a test needs besides a test runner; nothing here depends on one. Not here: trying rules without
data (`rule_trials.py`).

Statements run as the operator in the tenant's schema, the rule as in a validation: as the tenant's owner, in
a read-only transaction. All of it is rolled back.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.platform.embedded import stop
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.guard import guarded
from tenant_ops.validation.own_rules import KnownRule, must_fit
from tenant_ops.validation.rules import Frame, Look, Rows, Rule
from tenant_ops.validation.scanning import bad_keys, bad_rows, trusted

MOST_KEYS = 10_000


@dataclass(frozen=True)
class SampleTenant:
    """A tenant to try rules on, and the fleet it belongs to.

    Attributes:
        fleet: The fleet; its catalog says which datasets the tenant has.
        tenant: The tenant.
    """

    fleet: Fleet
    tenant: Tenant


@contextmanager
def sample_tenant(
    catalog: Catalog = MUSIC, *, home: Path, tier: str = "enterprise", rows: int = 100, seed: int = 1
) -> Iterator[SampleTenant]:
    """A tenant on a Postgres server of its own, with sound generated rows; the server is stopped at the end.

    Args:
        catalog: Its datasets.
        home: An empty folder for the server's files, as `tmp_path_factory.mktemp("home")` of pytest.
        tier: Its tier.
        rows: Rows of the biggest dataset; 0: its tables stay empty.
        seed: Another one makes other rows.
    """
    fleet = Fleet.open(Settings.load({"TENANT_OPS_HOME": str(home)}), catalog=catalog)
    try:
        provision(fleet, "sample", tier_name=tier)
        tenant = SampleTenant(fleet, fleet.registry.get("sample"))
        if rows:
            _fill(tenant, rows, seed)
        yield tenant
    finally:
        fleet.close()
        stop(home)


@contextmanager
def planted(tenant: SampleTenant, *statements: str) -> Iterator[Evidence]:
    """The tenant with the statements run in it, as rules see it; afterwards it is as before."""
    background = Background.gather(tenant.fleet, tenant.tenant)
    with (
        tenant.fleet.database(tenant.tenant).transaction() as connection,
        connection.transaction(force_rollback=True),
    ):
        path = f'"{tenant.tenant.schema_name}"'
        connection.execute(
            "SELECT set_config('search_path', %s, true), set_config('TimeZone', 'UTC', true)", (path,)
        )
        for statement in statements:
            connection.execute(trusted(statement))
        connection.execute("SELECT set_config('role', %s, true)", (tenant.tenant.role("owner"),))
        connection.execute("SET TRANSACTION READ ONLY")
        yield Evidence(background, connection)


def found(rule: Rule, tenant: SampleTenant, statements: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """What the rule finds after the statements: the key of each bad row, or each subject, as text, sorted.

    Errors of Postgres and of the rule's function are not caught.
    """
    must_fit(KnownRule(rule, "under test"), tenant.fleet.catalog)
    with planted(tenant, *statements) as evidence:
        return sorted(_found(evidence, guarded(rule)))


def assert_finds(
    rule: Rule, tenant: SampleTenant, statements: Sequence[str] = (), *, keys: Iterable[Any]
) -> None:
    """Fail unless the rule, after the statements, finds these rows and no others.

    Args:
        rule: The rule.
        tenant: Where.
        statements: SQL that plants a fault.
        keys: The bad rows: a value where the rule names rows by one column, else a tuple, or a mapping by
            column; for a rule that looks for itself, the subjects. Each counts as often as it is there.
    """
    expected = sorted(_as_text(key) for key in keys)
    seen = found(rule, tenant, statements)
    assert seen == expected, (
        f"{rule.id} found {_listed(seen)} where {_listed(expected)} was expected: "
        f"too many {_listed(_beyond(seen, expected))}, missing {_listed(_beyond(expected, seen))}"
    )


def assert_finds_nothing(rule: Rule, tenant: SampleTenant, statements: Sequence[str] = ()) -> None:
    """Fail when the rule, after the statements, finds anything."""
    assert_finds(rule, tenant, statements, keys=())


def _found(evidence: Evidence, rule: Rule) -> list[tuple[str, ...]]:
    if isinstance(rule.find, Look):
        return [(one.subject,) for one in rule.find.look(evidence)]
    if isinstance(rule.find, Frame):
        from tenant_ops.validation.frames import bad_frame_rows  # pandas takes a second to import

        return list(map(_as_text, bad_frame_rows(evidence, rule, MOST_KEYS).keys))
    if isinstance(rule.find, Rows):
        bad = bad_rows(evidence, rule, MOST_KEYS)
        return [_as_text(key) for key in bad.keys]
    dataset = evidence.catalog[rule.dataset or ""]
    return [_as_text(key) for key in bad_keys(evidence, dataset, rule, MOST_KEYS)]


def _as_text(key: Any) -> tuple[str, ...]:
    if isinstance(key, Mapping):
        key = tuple(key.values())
    values = key if isinstance(key, tuple) else (key,)
    return tuple(value.isoformat() if hasattr(value, "isoformat") else str(value) for value in values)


def _beyond(these: list[tuple[str, ...]], those: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    left = list(those)
    return [key for key in these if key not in left or left.remove(key)]


def _listed(keys: list[tuple[str, ...]]) -> str:
    shown = ", ".join(" / ".join(key) or "a problem" for key in keys[:10])
    return f"{shown}, and {len(keys) - 10} more" if len(keys) > 10 else shown or "nothing"


def _fill(tenant: SampleTenant, rows: int, seed: int) -> None:
    from tenant_ops.datasets.synthesis import write_fixtures  # numpy and pyarrow take their time

    catalog = tenant.fleet.catalog
    with tempfile.TemporaryDirectory() as folder:
        written = write_fixtures(catalog, Path(folder), rows=rows, seed=seed)
        files = {file.dataset: file.path for file in written.files}
        with tenant.fleet.session(tenant.tenant) as connection:
            for dataset in catalog:
                copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER)").format(
                    sql.Identifier(dataset.name),
                    sql.SQL(", ").join(map(sql.Identifier, dataset.column_names)),
                )
                with connection.cursor().copy(copy) as stream:
                    stream.write(files[dataset.name].read_bytes())
