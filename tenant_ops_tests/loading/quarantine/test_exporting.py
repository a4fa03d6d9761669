"""Quarantined rows leave as a file, are repaired in it, and come back."""

import json
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tenant_ops.audit import history
from tenant_ops.loading import export_quarantine, list_quarantine, repair_row
from tenant_ops.loading.quarantine.repaired_files import repairs
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.quarantine.conftest import HEADER, ids
from tenant_ops_tests.loading.shop import Shop


def exported(shop: Shop, name: str = "customers.csv", **options: Any) -> Path:
    path = shop.folder.parent / name
    format_ = "ndjson" if name.endswith(".ndjson") else "csv"
    export_quarantine(shop.fleet, shop.tenant, "customers", path, format=format_, **options)
    return path


def change(path: Path, *changes: tuple[str, str]) -> Path:
    """What an operator does in an editor."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def test_a_csv_export_has_every_row_as_it_was_read(bad: Shop) -> None:
    first, second, text, last = ids(bad)
    assert exported(bad).read_text() == (
        '"_id","_dataset","_file","_line","_reason","_raw","id","email","name","tier","left"\n'
        f'{first},"customers","customers.csv",3,"id: not a whole number; tier: not one of gold, silver",,'
        '"two","bob@example.org","Bob","lead",\n'
        f'{second},"customers","customers.csv",4,"name: empty, but required",,3,"eve@example.org",,,\n'
        f'{text},"customers","customers.csv",6,"2 values where the header has 5","5,""a, b""",,,,,\n'
        f'{last},"customers","customers.csv",5,"id: the same id as an earlier row",,1,,"again",,\n'
    ).replace(',3,"eve', ',"3","eve').replace(',,1,,"again"', ',,"1",,"again"')


def test_an_ndjson_export_has_the_same(bad: Shop) -> None:
    rows = [json.loads(line) for line in exported(bad, "customers.ndjson").read_text().splitlines()]
    assert rows[0] | {"_id": 0, "_reason": ""} == {
        "_id": 0,
        "_dataset": "customers",
        "_file": "customers.csv",
        "_line": 3,
        "_reason": "",
        "_raw": None,
        **dict(zip(HEADER, ("two", "bob@example.org", "Bob", "lead", None), strict=True)),
    }
    assert [row["_raw"] for row in rows] == [None, None, '5,"a, b"', None]
    assert "id" not in rows[2]


def test_only_its_owner_can_read_an_export_and_its_making_is_on_record(bad: Shop) -> None:
    path = exported(bad, reason="not a whole number")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with bad.fleet.control.transaction() as connection:
        (event,) = history(connection, str(bad.tenant.id), limit=1)
    assert (event.action, event.actor) == ("quarantine.export", "tester")
    assert event.detail == {"dataset": "customers", "rows": 1, "format": "csv"}


def test_a_file_that_is_there_is_replaced_only_by_force_and_never_in_part(bad: Shop) -> None:
    path = exported(bad)
    before = path.read_bytes()
    with pytest.raises(InputError, match="the file is there already"):
        exported(bad)
    with pytest.raises(InputError, match="there is no dataset"):
        export_quarantine(bad.fleet, bad.tenant, "people", path, force=True)
    assert path.read_bytes() == before
    export_quarantine(bad.fleet, bad.tenant, "customers", path, reason="no such", force=True)
    assert len(path.read_text().splitlines()) == 1
    assert [each.name for each in path.parent.glob(".*")] == []


def test_an_export_into_nowhere_is_refused(bad: Shop) -> None:
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        exported(bad, "no/such/folder.csv")


@pytest.mark.parametrize("name", ["repaired.csv", "repaired.ndjson"])
def test_an_edited_export_is_the_repaired_input(bad: Shop, name: str) -> None:
    path = change(exported(bad, name), ('"two"', '"2"'), ('"lead"', '"gold"'))
    report = bad.load(source=path, replay=True)
    assert (report.read, report.inserted, report.quarantined) == (3, 1, 2)
    assert bad.rows("customers", "id email name tier")[1] == (2, "bob@example.org", "Bob", "gold")
    assert [entry["line"] for entry in bad.quarantine()] == [6, 4, 5]


def test_text_that_is_no_row_is_repaired_by_filling_in_its_values(bad: Shop) -> None:
    path = change(exported(bad), ('"5,""a, b""",,,', '"5,""a, b""","5",,"a, b"'))
    assert bad.load(source=path, replay=True).inserted == 1
    assert bad.rows("customers", "id email name") == [(1, "ada@example.org", "Ada"), (5, None, "a, b")]


def test_rows_that_were_taken_out_of_the_file_stay_in_quarantine(bad: Shop) -> None:
    path = exported(bad)
    header, first, *_ = path.read_text().splitlines()
    path.write_text(f"{header}\n{first}\n".replace('"two"', "2").replace('"lead"', ""))
    report = bad.load(source=path, replay=True)
    assert (report.read, report.inserted) == (1, 1)
    assert list_quarantine(bad.fleet, bad.tenant).rows == 3


def test_columns_that_were_taken_out_of_the_file_keep_their_values(bad: Shop) -> None:
    row_id = ids(bad)[0]
    path = bad.write("repaired.csv", f"_id,_dataset,id,tier\n{row_id},customers,2,\n")
    assert bad.load(source=path, replay=True).inserted == 1
    assert bad.rows("customers", "id email name tier")[1] == (2, "bob@example.org", "Bob", None)


def test_members_an_object_leaves_out_keep_their_values(bad: Shop) -> None:
    row_id = ids(bad)[0]
    path = bad.ndjson("repaired.ndjson", [{"_id": row_id, "_dataset": "customers", "id": 2, "tier": None}])
    assert bad.load(source=path, replay=True).inserted == 1
    assert bad.rows("customers", "id email name tier")[1] == (2, "bob@example.org", "Bob", None)


def test_rows_of_other_datasets_in_the_file_wait_for_their_turn(bad: Shop) -> None:
    path = change(exported(bad), ('"two"', '"2"'), ('"lead"', ""))
    assert bad.load(source=path, replay=True, datasets=["orders"]).read == 0
    assert bad.load(source=path, replay=True, datasets=["customers"]).inserted == 1


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("{id},customers,1\n99999,customers,2", "line 3", "no row 99999 in its quarantine"),
        ("{id},orders,", "line 2", "no row"),
        ("{id},customers,1\n{id},customers,2", "line 3", "is there twice, also on line 2"),
        ("seven,customers,1", "line 2", "_id is 'seven'"),
        (",customers,1", "line 2", "_id is None"),
        ("{id},people,1", "line 2", "_dataset is 'people'"),
        ("{id},customers,1,2", "line 2", "4 values where the header has 3"),
    ],
)
def test_a_file_that_cannot_be_about_these_rows_is_refused_by_line(
    bad: Shop, text: str, where: str, problem: str
) -> None:
    path = bad.write("repaired.csv", "_id,_dataset,id\n" + text.format(id=ids(bad)[0]) + "\n")
    before = bad.quarantine()
    with pytest.raises(InputError, match=problem) as refused:
        bad.plan(source=path, replay=True)
    assert f"repaired.csv, {where}" in str(refused.value)
    assert bad.quarantine() == before
    assert not [name for name in tables(bad) if name.startswith("repaired")]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("repaired.csv", "_id,id\n1,2\n", "the columns _dataset of quarantine are missing"),
        ("repaired.csv", "_id,_dataset,emial\n1,customers,x\n", "has no column 'emial'"),
        ("repaired.csv", "_id,_dataset,No.\n1,customers,2\n", "customers has no column 'No.'"),
        ("repaired.ndjson", '{"_id": 1', "not valid JSON"),
        ("repaired.ndjson", "[1]", "not a JSON object"),
        ("repaired.ndjson", '{"_id": 1, "_dataset": "customers", "x": 1}', "customers has no column 'x'"),
        ("repaired.ndjson", '{"_id": 1, "_dataset": "customers", "name": "\\u0000"}', "no text can hold"),
        ("repaired.txt", "", "no kind of file"),
    ],
)
def test_a_file_that_is_no_edited_export_is_refused(bad: Shop, name: str, text: str, problem: str) -> None:
    path = bad.write(name, text)
    with pytest.raises(InputError, match=problem):
        bad.plan(source=path, replay=True)


def test_a_file_that_is_not_there_is_refused(bad: Shop) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        bad.plan(source=bad.folder / "none.csv", replay=True)


def test_replaying_the_same_file_twice_says_that_its_rows_are_gone(bad: Shop) -> None:
    path = exported(bad, reason="not a whole number")
    change(path, ('"two"', '"2"'), ('"lead"', ""))
    bad.load(source=path, replay=True)
    with pytest.raises(InputError, match=r"no row \d+ in its quarantine"):
        bad.load(source=path, replay=True)


def test_another_tenants_export_changes_nothing_here(bad: Shop, neighbour: Shop) -> None:
    repair_row(neighbour.fleet, neighbour.tenant, ids(neighbour)[0], {"id": "9"})
    before = neighbour.quarantine()
    with pytest.raises(InputError, match=r"tenant globex, customers\.csv, line 3: there is no row"):
        neighbour.load(source=exported(bad), replay=True)
    assert (neighbour.quarantine(), neighbour.rows("customers")) == (before, [])


VALUES = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=5))
@pytest.mark.parametrize("name", ["all.csv", "all.ndjson"])
def test_every_text_comes_back_as_it_went(bad: Shop, name: str, rows: list[list[str | None]]) -> None:
    names = ("id", "email", "name", "tier")
    quarantine = f"{bad.tenant.stage_schema}.quarantine"
    with bad.fleet.session(bad.tenant) as connection:
        connection.execute(f"TRUNCATE {quarantine}".encode())
        for row in rows:
            raw = Jsonb(dict(zip(names, row, strict=True)))
            connection.execute(
                f"INSERT INTO {quarantine} (load_id, dataset, file, line, check_name, reason, raw) "
                "VALUES (gen_random_uuid(), 'customers', 'f', 1, 'schema', 'r', %s)".encode(),
                (raw,),
            )
    path = bad.folder.parent / name
    format_ = "csv" if name.endswith("csv") else "ndjson"
    export_quarantine(bad.fleet, bad.tenant, "customers", path, format=format_, force=True)
    with (
        bad.fleet.session(bad.tenant) as connection,
        repairs(connection, bad.tenant, bad.fleet.catalog, path, ["customers"]) as table,
    ):
        query = f"SELECT row::text FROM {table.as_string()} ORDER BY id"
        found = [orjson.loads(row) for (row,) in connection.execute(query.encode())]
    assert found == [dict(zip(names, row, strict=True)) for row in rows]


def tables(shop: Shop) -> list[str]:
    with shop.fleet.session(shop.tenant) as connection:
        found = connection.execute(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = %s", (shop.tenant.stage_schema,)
        )
        return [name for (name,) in found]
