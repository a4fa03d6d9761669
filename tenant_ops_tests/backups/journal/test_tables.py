"""Every kind of table is followed in the most exact way it allows."""

from psycopg import sql

from tenant_ops.backups.journal import health, install
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.journal.conftest import run


def ways(fleet: Fleet, tenant: Tenant) -> dict[str, tuple[str, tuple[str, ...]]]:
    """How each table of the test is followed, and by which key."""
    return {
        unit.name: (unit.way, unit.key.columns if unit.key else ())
        for unit in health(fleet, tenant).units
        if unit.name not in fleet.catalog.names
    }


def test_every_table_is_followed_in_the_most_exact_way_it_allows(fleet: Fleet, tenant: Tenant) -> None:
    run(
        fleet,
        tenant,
        """
        CREATE TABLE primary_key (a integer, b integer, PRIMARY KEY (b, a));
        CREATE TABLE unique_key (a integer UNIQUE, b integer NOT NULL, UNIQUE (b));
        CREATE TABLE shortest_key (
            a integer NOT NULL, b integer NOT NULL, c integer NOT NULL UNIQUE, UNIQUE (a, b)
        );
        CREATE TABLE deferrable_key (a integer PRIMARY KEY DEFERRABLE);
        CREATE TABLE partial_key (a integer NOT NULL);
        CREATE UNIQUE INDEX ON partial_key (a) WHERE a > 0;
        CREATE TABLE expression_key (a text NOT NULL);
        CREATE UNIQUE INDEX ON expression_key (lower(a));
        CREATE TABLE generated_key (a integer, b integer GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY);
        CREATE TABLE no_key (a integer);
        CREATE TABLE forced (a integer PRIMARY KEY);
        ALTER TABLE forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE TABLE secured (a integer PRIMARY KEY);
        ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
        CREATE TABLE no_columns ();
        CREATE UNLOGGED TABLE unlogged (a integer PRIMARY KEY);
        CREATE TABLE mother (a integer PRIMARY KEY);
        CREATE TABLE daughter (b integer) INHERITS (mother);
        CREATE TABLE parts (a integer PRIMARY KEY) PARTITION BY RANGE (a);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
        CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20) PARTITION BY HASH (a);
        CREATE TABLE parts_2_0 PARTITION OF parts_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TABLE loose_parts (a integer) PARTITION BY LIST (a);
        CREATE TABLE loose_parts_1 PARTITION OF loose_parts DEFAULT;
        CREATE TABLE mixed (a integer PRIMARY KEY) PARTITION BY RANGE (a);
        CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (10);
        CREATE UNLOGGED TABLE mixed_2 PARTITION OF mixed FOR VALUES FROM (10) TO (20);
        """,
    )
    install(fleet, tenant)
    assert ways(fleet, tenant) == {
        "primary_key": ("state", ("b", "a")),
        "unique_key": ("state", ("b",)),
        "shortest_key": ("state", ("c",)),
        "secured": ("state", ("a",)),
        "parts": ("state", ("a",)),
        **dict.fromkeys(
            [
                "deferrable_key",
                "partial_key",
                "expression_key",
                "generated_key",
                "no_key",
                "forced",
                "loose_parts",
            ],
            ("rows", ()),
        ),
        **dict.fromkeys(["no_columns", "mother", "daughter"], ("copy", ())),
        **dict.fromkeys(["unlogged", "mixed_1", "mixed_2"], ("always", ())),
    }


def test_partitions_that_are_foreign_or_lie_elsewhere_leave_the_others_to_be_copied(
    fleet: Fleet, tenant: Tenant
) -> None:
    """A statement on the partitioned table reaches them all, and some cannot be read with the others."""
    run(
        fleet,
        tenant,
        """
        CREATE TABLE abroad (a integer) PARTITION BY RANGE (a);
        CREATE TABLE abroad_1 PARTITION OF abroad FOR VALUES FROM (0) TO (10);
        CREATE TABLE apart (a integer PRIMARY KEY) PARTITION BY RANGE (a);
        CREATE TABLE apart_1 PARTITION OF apart FOR VALUES FROM (0) TO (10);
        """,
    )
    schema, stage = sql.Identifier(tenant.schema_name), sql.Identifier(tenant.stage_schema)
    with fleet.control.transaction() as connection:
        server = sql.Identifier(f"server_{tenant.key}")
        connection.execute(sql.SQL("CREATE FOREIGN DATA WRAPPER {}").format(server))
        connection.execute(sql.SQL("CREATE SERVER {0} FOREIGN DATA WRAPPER {0}").format(server))
        connection.execute(
            sql.SQL(
                "CREATE FOREIGN TABLE {0}.abroad_2 PARTITION OF {0}.abroad FOR VALUES FROM (10) TO (20) "
                "SERVER {1}"
            ).format(schema, server)
        )
        connection.execute(
            sql.SQL("CREATE TABLE {}.apart_2 PARTITION OF {}.apart FOR VALUES FROM (10) TO (20)").format(
                stage, schema
            )
        )
    assert ways(fleet, tenant) == {"abroad_1": ("always", ()), "apart_1": ("always", ())}
