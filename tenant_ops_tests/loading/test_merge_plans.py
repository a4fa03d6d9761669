"""How Postgres goes about a merge: by hashing, whatever it believes about the live table."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tenant_ops.loading import ConflictStrategy, Mode, execute_load
from tenant_ops.loading.statements import plan_for_whole_sets
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.loading.shop import Shop

ROWS = 5000


def test_a_live_table_analysed_while_empty_is_not_looped_over(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("ANALYZE artists")
        connection.execute("CREATE TEMP TABLE s (LIKE artists)")
        connection.execute(
            "INSERT INTO s SELECT gen_random_uuid(), 'x', NULL, NULL, 0, now() FROM generate_series(1, 20000)"
        )
        connection.execute("ANALYZE s")
        plan_for_whole_sets(connection)
        query = sql.SQL(
            "EXPLAIN (FORMAT JSON) INSERT INTO artists SELECT * FROM s "
            "WHERE NOT EXISTS (SELECT FROM artists l WHERE l.artist_id = s.artist_id)"
        )
        row = connection.execute(query).fetchone()
    assert row
    assert "Nested Loop" not in json.dumps(row[0])


@contextmanager
def plans_of_joins(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The plans of the statements about whole tables that are executed meanwhile, by their text."""
    plans: dict[str, str] = {}
    execute = psycopg.Connection.execute

    def explained(connection: psycopg.Connection, query: Any, *arguments: Any, **options: Any) -> Any:
        text = query.as_string(connection) if isinstance(query, sql.Composed) else str(query)
        if (
            re.match(r"\s*(INSERT|UPDATE|DELETE|WITH|SELECT)\b.*(stage|leaving)_", text, re.DOTALL)
            and not arguments
        ):
            row = execute(connection, f"EXPLAIN (FORMAT JSON) {text}".encode()).fetchone()
            assert row
            plans[" ".join(text.split())] = json.dumps(row[0])
        return execute(connection, query, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", explained)
        yield plans


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """A shop with many customers and orders, which its server takes for a few."""
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("ALTER TABLE customers SET (autovacuum_enabled = false)")
        connection.execute("ALTER TABLE orders SET (autovacuum_enabled = false)")
        connection.execute("ANALYZE customers, orders")
        connection.execute(
            "INSERT INTO customers (id, name, email) SELECT n, 'x', n || '@x' FROM generate_series(1, %s) n",
            (ROWS,),
        )
        connection.execute("UPDATE customers SET referred_by = id / 2 WHERE id > 1")
        connection.execute(
            "INSERT INTO orders (customer_id, number, total) SELECT n, 1, 1 FROM generate_series(1, %s) n",
            (ROWS,),
        )
    kept = range(ROWS // 10, ROWS + ROWS // 10)
    customers = [(n, "y", f"{n}@x", n - 1 if n > kept[0] else "", "2024-01-01") for n in kept]
    shop.csv("customers.csv", [*customers, customers[0]], ("id", "name", "email", "referred_by", "joined"))
    orders = [(n, 1, 2, "2024-01-01") for n in kept]
    shop.csv("Orders.csv", orders, ("Customer", "No.", "Total amount", "placed_at"))
    return shop


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"conflict": ConflictStrategy.OVERWRITE}, {"INSERT INTO", "UPDATE"}),
        ({"conflict": ConflictStrategy.MERGE}, {"INSERT INTO", "UPDATE"}),
        ({"conflict": ConflictStrategy.SKIP}, {"INSERT INTO"}),
        ({"conflict": ConflictStrategy.NEWEST}, {"INSERT INTO", "UPDATE"}),
        ({"conflict": ConflictStrategy.KEEP_BOTH}, {"INSERT INTO"}),
        ({"mode": Mode.FULL}, {"INSERT INTO", "UPDATE", "DELETE FROM", "WITH let_go"}),
    ],
)
def test_no_statement_of_a_merge_loops(
    stocked: Shop, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], wanted: set[str]
) -> None:
    for dataset, newest_by in (("customers", "joined"), ("orders", "placed_at")):
        together = ["customers", "orders"] if "mode" in options else None
        plan = stocked.plan(datasets=[dataset], newest_by=newest_by, together=together, **options)
        with plans_of_joins(monkeypatch) as plans:
            execute_load(stocked.fleet, plan, safety_copy=lambda _: "a copy")
        assert {text: plan for text, plan in plans.items() if "Nested Loop" in plan} == {}
        if dataset == "customers":
            live = f'"{stocked.tenant.schema_name}"."customers"'
            seen = {kind for kind in wanted for text in plans if text.startswith(kind) and live in text}
            assert seen == wanted
