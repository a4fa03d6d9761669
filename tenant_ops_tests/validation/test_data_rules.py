"""Data level: the rows named are the rows spoiled, and what is only unusual raises no alarm."""

from collections.abc import Callable

import pytest

from tenant_ops.datasets import Catalog, Column, Dataset, Length
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import (
    Rows,
    Rule,
    execute_validation,
    plan_validation,
    shipped_rules,
    undo_fixes,
)
from tenant_ops.validation.levels.data import data_rules
from tenant_ops.validation.levels.data.history import HISTORY_RULES
from tenant_ops_tests.validation.conftest import Spoiled, examined
from tenant_ops_tests.validation.planted.data import DATA, ROWS

Sound = tuple[Fleet, Tenant]
TITLE = (
    "UPDATE tracks SET title = {} WHERE track_id = (SELECT track_id FROM tracks ORDER BY track_id LIMIT 1)"
)

# ruff: noqa: RUF001 - characters that look like others are what this is about
UNUSUAL = (
    "NÃO",
    "IRMÃ – «MAÇÃ»",
    "AMANHÃ’S “IRMÃ”",
    "Â, ÂNGELA",
    "Ñandú Ñ",
    "Ærøskøbing Þór ÞAÐ",
    "Привет, мир",
    "日本の歌",
    "เพลงไทย",
    "می\u200cخواهم",  # a joiner Persian is written with
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # joiners emoji are made with
    "100 % (50°)",
    "2 £ 3 ½",
    "Â",
    "naïve café",
)
MISREAD = (
    ("Beyoncé", "cp1252"),
    ("Motörhead", "latin-1"),
    ("naïve – “quoted”", "latin-1"),
    ("it’s", "cp1252"),
    ("10 €", "cp1252"),
    ("5 °C", "cp1252"),
    ("Привет", "latin-1"),
    ("Мир", "latin-1"),
    ("\U0001f600 fun", "latin-1"),
    ("\ufeffTitle", "cp1252"),
)


def written(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize("name", sorted(DATA))
def test_the_rows_named_are_the_rows_spoiled(sound: Sound, name: str) -> None:
    catalog = sound[0].catalog
    planted: dict[str, Rule] = {}
    for rule, condition in ROWS[name].items():
        dataset = rule.split(".")[1]
        key = ", ".join(catalog[dataset].key)
        find = Rows(f"SELECT {key} FROM {dataset} WHERE {condition}")
        planted[rule] = Rule(f"business.{rule}", "business", "info", "Planted.", "None.", find, dataset)
    found = examined(*sound, *DATA[name][0], rules=[*shipped_rules(catalog), *planted.values()])
    samples = {finding.rule: (finding.count, finding.sample) for finding in found.findings}
    assert {rule: samples[rule] for rule in planted} == {
        rule: samples[one.id] for rule, one in planted.items()
    }
    assert {rule for rule in samples if rule.startswith("data.")} == set(planted)


def test_texts_that_are_only_unusual_are_sound(sound: Sound) -> None:
    for text in UNUSUAL:
        found = examined(*sound, TITLE.format(written(text)))
        assert found.findings == [], text


def test_texts_read_in_the_wrong_encoding_are_found(spoiled: Spoiled) -> None:
    for text, encoding in MISREAD:
        misread = text.encode().decode(encoding)
        found = {finding.rule for finding in spoiled(TITLE.format(written(misread)))}
        assert "data.tracks.title.encoding" in found, misread


def test_a_clock_five_minutes_fast_is_forgiven(spoiled: Spoiled) -> None:
    assert spoiled("UPDATE artists SET created_at = now() + interval '4 minutes'") == []


def test_two_artists_of_one_name_may_be_two(spoiled: Spoiled) -> None:
    assert spoiled("UPDATE artists SET name = 'The Same'") == []


def test_rows_that_differ_in_anything_are_no_copies(spoiled: Spoiled) -> None:
    again = (
        "INSERT INTO api_requests SELECT gen_random_uuid(), user_id, integration_id, method, path, status, "
        "latency_ms{}, ip_address, requested_at FROM api_requests WHERE user_id IS NULL "
        "ORDER BY requested_at LIMIT 1"
    )
    assert spoiled(again.format(" + 1")) == []
    (finding,) = spoiled(
        again.format(""), again.format("").replace("requested_at LIMIT", "requested_at DESC LIMIT")
    )
    assert (finding.rule, finding.count) == ("data.api_requests.copies", 4)


def test_what_a_definition_does_not_say_is_not_asked(sound: Sound) -> None:
    """No times that must have passed, no documents of one shape, no labels that must differ."""
    plain = Dataset(
        "plans",
        "What is to come.",
        (
            Column("plan_id", "integer"),
            Column("name", "text", rules=(Length(1, 9),)),
            Column("due", "timestamptz"),
            Column("notes", "jsonb"),
        ),
        ("plan_id",),
    )
    rules = data_rules(Catalog("p", "1.0.0", (plain,)))
    asked = {rule.id for rule in rules} - {rule.id for rule in HISTORY_RULES}
    assert {name.removeprefix("data.plans.") for name in asked} == {
        *("plan_id.filled", "name.filled", "due.filled", "notes.filled", "name.length", "name.blank"),
        *("name.trimmed", "name.encoding", "name.invisible", "name.composed", "due.finite", "primary_key"),
    }


@pytest.mark.parametrize("column", [Column("a", "text", past=True), Column("a", "text", shape="object")])
def test_a_text_has_neither_past_nor_shape(column: Column) -> None:
    with pytest.raises(InputError, match="a text has neither a past nor a shape"):
        Dataset("things", "", (column,), ("a",))


def test_another_tenants_rows_are_not_seen(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant("other")
    artist = "INSERT INTO artists VALUES (gen_random_uuid(), '{}', 'jazz', 'DE', 1, now())"
    with fleet.session(tenant) as connection:
        connection.execute(artist.format("Golden Pilot"))
    found = examined(fleet, other, artist.format("golden pilot"), artist.format("Other"))
    assert [one for one in found.findings if one.level == "data"] == []


def test_texts_are_mended_and_put_back_byte_for_byte(fleet: Fleet, tenant: Tenant) -> None:
    before = {"Golden\u200b Hour", "Cafe\u0301 Noir", "\u202etfeL", "Plain"}
    with fleet.session(tenant) as connection:
        for name in before:
            connection.execute(
                "INSERT INTO artists (artist_id, name, followers, created_at) "
                "VALUES (gen_random_uuid(), %s, 1, now())",
                (name,),
            )
        connection.execute(
            "INSERT INTO users (user_id, email, display_name, role, status, created_at) "
            "VALUES (gen_random_uuid(), 'Mary@Songs.example', 'Mary', 'admin', 'active', now())"
        )

    def texts() -> set[str]:
        with fleet.session(tenant) as connection:
            rows = connection.execute("SELECT name FROM artists UNION ALL SELECT email FROM users")
            return {row[0] for row in rows}

    report = execute_validation(fleet, plan_validation(fleet, tenant, types=["data"], auto_fix=True))
    assert report.findings == () and report.fixes is not None
    assert texts() == {"Golden Hour", "Caf\u00e9 Noir", "tfeL", "Plain", "mary@songs.example"}
    assert report.fixes.fix_id is not None
    undo_fixes(fleet, tenant, report.fixes.fix_id)
    assert texts() == {*before, "Mary@Songs.example"}
