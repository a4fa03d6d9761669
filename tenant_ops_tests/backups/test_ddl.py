"""The definition of a schema is read in an order that works, and holds no name of the tenant it came from."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.ddl import (
    Neutralizer,
    SchemaDefinition,
    Statement,
    decode_statements,
    encode_statements,
    names_for,
)
from tenant_ops.backups.ddl.nodes import Key, Node, in_order
from tenant_ops.backups.restoring.statements import run
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.tenants import Fleet, Tenant

KEY = "abcdefghijklm"
ROLES = {
    kind: f"t_{KEY}_{suffix}" for kind, suffix in [("owner", "own"), ("admin", "adm"), ("viewer", "vwr")]
}
NAMES = {"schema": f"t_{KEY}", "stage": f"s_{KEY}", **ROLES}
NEUTRAL = Neutralizer(NAMES)
LOAD = names_for("loaded", "stage", {kind: kind for kind in ROLES}, final_schema="final")
OWN = names_for(NAMES["schema"], NAMES["stage"], ROLES, final_schema=NAMES["schema"])

PIECES = st.sampled_from(
    [f"t_{KEY}", f"t_{KEY}_adm", f"s_{KEY}", f'"t_{KEY}".', f"'t_{KEY}.x'", "::regclass", "'it''s'", "$$",
     "$f$", f" $$t_{KEY}$$ ", '"a""b"', " ", "e", "E'\\''", ".", "ü", "'", '"', "\n", "$1", "{", "}", "%s"]
)  # fmt: skip


def rendered(sql: str, names: dict[str, str] = LOAD) -> str:
    return Statement("pre", "test", "x", NEUTRAL(sql)).render(names)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_taking_the_names_out_and_putting_them_back_changes_nothing(sql: str) -> None:
    assert rendered(sql, OWN) == sql
    kept = Statement("pre", "test", "x", NEUTRAL(sql))
    assert decode_statements(encode_statements([kept])) == (kept,)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT 1 FROM t_{KEY}.a", "SELECT 1 FROM loaded.a"),
        (f'ALTER TABLE "t_{KEY}"."a"', 'ALTER TABLE "loaded"."a"'),
        (f"DEFAULT nextval('t_{KEY}.a_seq'::regclass)", "DEFAULT nextval('loaded.a_seq'::regclass)"),
        (f"SELECT 't_{KEY}.a'::text", "SELECT 'final.a'::text"),
        (f"SET search_path TO 't_{KEY}', 'public'", "SET search_path TO 'final', 'public'"),
        (f"AS $function$ SELECT t_{KEY}.f() $function$", "AS $function$ SELECT final.f() $function$"),
        (f"$a$ t_{KEY} $b$ t_{KEY} $a$ t_{KEY}", "$a$ final $b$ final $a$ loaded"),
        (f'GRANT SELECT TO "t_{KEY}_adm"', 'GRANT SELECT TO "admin"'),
        (f"current_user = 't_{KEY}_vwr'", "current_user = 'viewer'"),
        (f"s_{KEY}.quarantine", "stage.quarantine"),
        (f"E'\\'t_{KEY}' || t_{KEY}", "E'\\'final' || loaded"),
        (f"AS $$ SELECT T_{KEY.upper()}.f() $$", "AS $$ SELECT final.f() $$"),
        (f'SELECT "T_{KEY.upper()}", t_{KEY}.f()', f'SELECT "T_{KEY.upper()}", loaded.f()'),
    ],
)
def test_parsed_names_follow_the_loaded_schema_and_texts_the_final_one(sql: str, expected: str) -> None:
    assert rendered(sql) == expected


@pytest.mark.parametrize("sql", [f"t_{KEY}2", f"xt_{KEY}", f"t_{KEY}_admin", f"_t_{KEY}", f"t_{KEY}$", KEY])
def test_longer_names_are_other_names(sql: str) -> None:
    assert NEUTRAL(sql) == sql


def test_no_name_of_the_tenant_remains(fleet: Fleet, full_tenant: Tenant) -> None:
    definition = read(fleet, full_tenant)
    assert full_tenant.key.encode() not in encode_statements(definition.statements)
    assert len(definition.statements) > 150
    assert {statement.section for statement in definition.statements} == {"pre", "post", "rights"}


def test_tenants_of_one_version_have_one_fingerprint(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant(f"{tenant.slug}_other")
    assert read(fleet, tenant).fingerprint == read(fleet, other).fingerprint
    with fleet.session(other) as connection:
        connection.execute("ALTER TABLE users ADD COLUMN shoe_size int")
    assert read(fleet, tenant).fingerprint != read(fleet, other).fingerprint


def test_what_only_a_superuser_could_make_again_is_listed(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        name = sql.Identifier(tenant.schema_name, "c_function")
        connection.execute(
            sql.SQL("CREATE FUNCTION {}() RETURNS int LANGUAGE internal AS 'pg_backend_pid'").format(name)
        )
    definition = read(fleet, tenant)
    assert [item.name for item in definition.not_carried] == ["function c_function()"]
    assert not any("c_function" in statement.name for statement in definition.statements)


def test_objects_that_need_each_other_in_a_circle_are_named() -> None:
    first, second = Key("pg_proc", 1), Key("pg_proc", 2)
    nodes = [
        Node(first, "function", "one", (), frozenset({second})),
        Node(second, "function", "two", (), frozenset({first})),
    ]
    with pytest.raises(OperationFailed, match="function one, function two"):
        in_order(nodes)


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] > pair[1])))
def test_everything_comes_after_what_it_needs(needs: set[tuple[int, int]]) -> None:
    nodes = [
        Node(
            Key("pg_class", n),
            "table",
            str(9 - n),
            (),
            frozenset(Key("pg_class", b) for a, b in needs if a == n),
        )
        for n in range(10)
    ]
    order = [node.key.oid for node in in_order(nodes)]
    assert sorted(order) == list(range(10))
    assert all(order.index(a) > order.index(b) for a, b in needs)


@pytest.mark.parametrize(
    "text",
    [
        "RESET ROLE",
        "SET ROLE postgres",
        "DO $$ BEGIN END $$",
        "COPY users TO PROGRAM 'sh'",
        "DROP SCHEMA x",
        "\\! sh",
        "SELECT pg_read_file('/etc/passwd')",
        " CREATE TABLE x ()",
        "INSERT INTO t VALUES (1)",
    ],
)
def test_a_statement_no_definition_has_is_not_run(fleet: Fleet, tenant: Tenant, text: str) -> None:
    with (
        fleet.session(tenant) as connection,
        pytest.raises(DamagedBackup, match="no statement a definition has"),
    ):
        run(connection, Statement("pre", "table", "x", text), {"schema": tenant.schema_name})


def test_a_second_command_in_a_statement_is_not_run(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        with pytest.raises(OperationFailed, match="multiple commands"), connection.transaction():
            statement = f"CREATE TABLE {tenant.schema_name}.x (); RESET ROLE"
            run(connection, Statement("pre", "table", "x", statement), {"schema": tenant.schema_name})
        assert connection.execute("SELECT current_user").fetchone() == (tenant.role("owner"),)


@pytest.mark.parametrize(
    "document", [b"", b"7", b"[1]", b'[{"section": "x", "kind": "", "name": "", "sql": ""}]']
)
def test_a_schema_member_that_holds_no_statements_is_refused(document: bytes) -> None:
    with pytest.raises(DamagedBackup, match="does not hold statements"):
        decode_statements(document)


def read(fleet: Fleet, tenant: Tenant) -> SchemaDefinition:
    with hold_snapshot(fleet, tenant) as snapshot:
        return snapshot.definition
