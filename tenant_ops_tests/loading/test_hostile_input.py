"""File names, headers, cells and JSON keys are data: they never become SQL, or a path outside the source."""

import json
import os
import re
from pathlib import Path

import pytest

from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import Shop

SPELLS = (
    "'; DROP TABLE customers; --",
    '"; DROP SCHEMA public CASCADE; --',
    "$$; SELECT pg_sleep(10); $$",
    "\\. \n\\.\n",
    "%s %(x)s {} {0}",
    "=cmd|' /C calc'!A0",
    "../../../etc/passwd",
    "\\N",
    "NULL",
    "a\tb\\tc\\",
)


def test_cells_arrive_as_the_text_they_are(shop: Shop) -> None:
    rows = [(number, spell[:20], json.dumps({spell: [spell]})) for number, spell in enumerate(SPELLS, 1)]
    shop.csv("customers.csv", rows, ("id", "name", "profile"))
    shop.ndjson(
        "customers.json.ndjson",
        [
            {"id": 100 + number, "name": spell[:20], "profile": {spell: [spell]}}
            for number, spell in enumerate(SPELLS, 1)
        ],
    )
    shop.load(source=shop.folder / "customers.csv")
    shop.load(source=shop.folder / "customers.json.ndjson")
    expected = [(spell[:20], {spell: [spell]}) for spell in SPELLS]
    assert shop.rows("customers", "name profile") == expected * 2


def test_bad_cells_are_quarantined_as_the_text_they_are(shop: Shop) -> None:
    shop.csv(
        "customers.csv", [(spell, "x") for spell in SPELLS] + [("nul\x00nul", "\\u0000")], ("id", "name")
    )
    assert shop.load().inserted == 0
    raws = [entry["raw"]["id"] for entry in shop.quarantine()]
    assert raws[:-1] == list(SPELLS)
    assert re.fullmatch(r"nul\ufdd0<00 at byte \d+>nul", raws[-1])
    assert shop.quarantine()[-1]["raw"]["name"] == "\\u0000"


@pytest.mark.parametrize("spell", ['name"; DROP TABLE customers; --', "name) VALUES (1); --", "%(name)s"])
def test_headers_and_keys_are_looked_up_never_executed(shop: Shop, spell: str) -> None:
    shop.csv("customers.csv", [("id", "name", spell), (1, "a", "b")])
    with pytest.raises(InputError, match="customers has no column"):
        shop.load()
    assert shop.load(drift="ignore").inserted == 1
    (shop.folder / "customers.csv").unlink()
    shop.ndjson("customers.ndjson", [{"id": 2, "name": "a", spell: "b"}])
    with pytest.raises(InputError, match="customers has no column"):
        shop.load()
    assert shop.load(drift="ignore").inserted == 1


@pytest.mark.parametrize(
    "name",
    [
        b"customers.'; DROP TABLE customers; --.csv",
        b"customers.%s{}.csv",
        b"customers.\xff\xfe\n.csv",
        b"customers.$(touch pwned).csv",
    ],
)
def test_file_names_are_only_names(shop: Shop, name: bytes) -> None:
    (shop.folder / os.fsdecode(name)).write_text("id,name\n1,a\nx,b\n")
    report = shop.load()
    assert (report.inserted, report.quarantined) == (1, 1)
    assert shop.quarantine()[0]["file"] == report.datasets[0].merge.files[0]
    assert not Path("pwned").exists()


def test_a_load_works_under_the_tenants_own_role_only(shop: Shop) -> None:
    with shop.fleet.session(shop.tenant) as connection:
        row = connection.execute("SELECT current_user::text, current_schema()::text").fetchone()
    assert row == (shop.tenant.role("owner"), shop.tenant.schema_name)
    shop.csv("customers.csv", [("id", "name"), (1, "a")])
    shop.stage("customers")
    with shop.fleet.session(shop.tenant) as connection:
        owners = connection.execute(
            "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = %s",
            (shop.tenant.stage_schema,),
        ).fetchall()
    assert owners == [(shop.tenant.role("owner"),)]
