"""The fixtures shipped for each tier are sound by every rule, and rules hold for catalogs of other makes."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import sql

from tenant_ops.datasets import MUSIC, Catalog, Column, Dataset, ForeignKey, Matches, OneOf, Order
from tenant_ops.platform.settings import fixtures_root
from tenant_ops.tenants import TIERS, Fleet, Tenant, provision
from tenant_ops.validation import execute_validation, plan_validation
from tenant_ops.validation.levels.data.history import HISTORY_RULES

ORDERS = Catalog(
    "orders",
    "1.0.0",
    (
        Dataset("select", "A name Postgres reserves.", (Column("user", "integer"),), ("user",)),
        Dataset(
            "lines",
            "Two-column keys, a default, a % in a pattern.",
            (
                Column("order", "integer"),
                Column("line", "integer"),
                Column("user", "integer", nullable=True),
                Column("share", "text", rules=(Matches(r"[0-9]{1,3}%"),)),
                Column("mark", "text", default="'50%'", rules=(OneOf(("50%", "a:b", "it's")),)),
                Column("from", "date"),
                Column("to", "date", nullable=True),
            ),
            ("order", "line"),
            foreign_keys=(ForeignKey(("user",), "select", ("user",), on_delete="set null"),),
            unique=(("user", "from"),),
            orders=(Order("from", "to"),),
        ),
    ),
)


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_the_fixtures_of_a_tier_are_sound(fleet: Fleet, new_tenant: Callable[..., Tenant], tier: str) -> None:
    tenant = new_tenant("acme", tier)
    load(fleet, tenant, fixtures_root() / MUSIC.version / tier)
    report = execute_validation(fleet, plan_validation(fleet, tenant))
    assert report.findings == ()
    assert report.score == 100
    without_a_past = {rule.id for rule in HISTORY_RULES}
    assert {one.rule for one in report.unchecked} == {"performance.slow_statements", *without_a_past}


def test_another_catalog_has_its_own_rules_and_none_of_the_music_domain(fleet: Fleet) -> None:
    shop = Fleet(fleet.settings, fleet.control, ORDERS, fleet.clock)
    provision(shop, "shop")
    tenant = shop.registry.get("shop")
    with shop.session(tenant) as connection:
        connection.execute('INSERT INTO "select" VALUES (1)')
        connection.execute("INSERT INTO lines VALUES (7, 1, 1, '50%', 'it''s', '2026-01-01', '2026-01-02')")
        connection.execute("INSERT INTO lines VALUES (7, 2, 1, '1000%', 'a:b', '2026-01-03', NULL)")
    report = execute_validation(shop, plan_validation(shop, tenant))
    assert {level.name: (level.rules, level.failed) for level in report.levels} == {
        "schema": (17, 0),
        "data": (19, 1),
        "business": (1, 0),
        "performance": (22, 1),
        "security": (30, 0),
    }
    found = {finding.key: finding.sample for finding in report.findings}
    assert found.keys() == {"data.lines.share.pattern/lines.share", "performance.sequence_behind/select.user"}
    assert found["data.lines.share.pattern/lines.share"] == ("order=7, line=2",)


def load(fleet: Fleet, tenant: Tenant, folder: Path) -> None:
    with fleet.session(tenant) as connection:
        for dataset in fleet.catalog:
            (path,) = folder.glob(f"{dataset.name}.*")
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            table = sql.Identifier(dataset.name)
            if ".csv" in path.name:
                copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(table)
                with connection.cursor().copy(copy) as stream:
                    stream.write(content)
                continue
            rows = (
                [json.loads(line) for line in content.splitlines()]
                if "nd" in path.suffix
                else json.loads(content)
            )
            connection.execute(
                sql.SQL("INSERT INTO {0} SELECT * FROM jsonb_populate_recordset(NULL::{0}, %s)").format(
                    table
                ),
                (json.dumps(rows),),
            )
