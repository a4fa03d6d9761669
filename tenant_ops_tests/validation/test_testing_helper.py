"""The helper for tests of own rules: it finds what is there, says what it found, leaves all as it was."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from tenant_ops.datasets import Catalog, Column, Dataset, Volume
from tenant_ops.platform.embedded import is_running
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Evidence, Joined, Look, Rows, Rule, Sighting, Where
from tenant_ops.validation.testing import (
    SampleTenant,
    assert_finds,
    assert_finds_nothing,
    found,
    planted,
    sample_tenant,
)


@pytest.fixture
def acme(sound: tuple[Fleet, Tenant]) -> SampleTenant:
    return SampleTenant(*sound)


def of(find: Where | Joined | Rows | Look, dataset: str | None = "users") -> Rule:
    return Rule("business.own", "business", "error", "It holds.", "Mend it.", find, dataset)


OLD = "UPDATE users SET birth_year = 1900 WHERE user_id = (SELECT min(user_id::text) FROM users)::uuid"


def oldest(acme: SampleTenant) -> str:
    with acme.fleet.session(acme.tenant) as connection:
        row = connection.execute("SELECT min(user_id::text) FROM users").fetchone()
    assert row
    return row[0]


@pytest.mark.parametrize(
    "find",
    [
        Where("birth_year = 1900"),
        Joined("users.birth_year = 1900", ()),
        Rows("SELECT user_id FROM users WHERE birth_year = 1900"),
    ],
    ids=["where", "joined", "rows"],
)
def test_rows_are_named_by_key_and_the_tenant_stays_as_it_was(
    acme: SampleTenant, find: Where | Joined | Rows
) -> None:
    assert_finds(of(find), acme, [OLD], keys=[oldest(acme)])
    assert_finds(of(find), acme, [OLD], keys=[{"user_id": oldest(acme)}])
    assert_finds_nothing(of(find), acme)


def test_a_key_of_several_columns_is_a_tuple_and_repeated_rows_count(acme: SampleTenant) -> None:
    find = Rows("SELECT metric, day FROM analytics_daily, generate_series(1, 2) WHERE day = '2020-02-29'")
    statement = "INSERT INTO analytics_daily VALUES ('2020-02-29', 'plays', 1, now())"
    assert_finds(of(find, "analytics_daily"), acme, [statement], keys=[("plays", date(2020, 2, 29))] * 2)


def test_a_rule_that_looks_names_subjects(acme: SampleTenant) -> None:
    def look(evidence: Evidence) -> Iterator[Sighting]:
        for (name,) in evidence.connection.execute("SELECT role FROM users WHERE birth_year = 1900"):
            yield Sighting(f"role {name}", "It is old.")

    assert found(of(Look(look), None), acme, ["UPDATE users SET role = 'editor'", OLD]) == [("role editor",)]


def test_what_was_found_and_what_was_expected_is_said(acme: SampleTenant) -> None:
    said = (
        f"business.own found {oldest(acme)} where somebody was expected: "
        f"too many {oldest(acme)}, missing somebody"
    )
    with pytest.raises(AssertionError, match=re.escape(said)):
        assert_finds(of(Where("birth_year = 1900")), acme, [OLD], keys=["somebody"])
    with pytest.raises(AssertionError, match=r"found nothing where somebody was expected"):
        assert_finds(of(Where("birth_year = 1900")), acme, keys=["somebody"])


def test_mistakes_are_not_caught(acme: SampleTenant) -> None:
    with pytest.raises(psycopg.errors.UndefinedColumn):
        assert_finds_nothing(of(Where("age > 100")), acme)
    with pytest.raises(psycopg.errors.CheckViolation):
        assert_finds_nothing(of(Where("true")), acme, ["UPDATE users SET birth_year = 1"])
    with pytest.raises(InputError, match=r"business\.own \(under test\): the catalog 'music' has no dataset"):
        assert_finds_nothing(of(Where("true"), "orders"), acme)


def test_the_rule_runs_as_the_owner_and_cannot_write(acme: SampleTenant) -> None:
    with planted(acme, "UPDATE users SET birth_year = 1900") as evidence:
        row = evidence.connection.execute(
            "SELECT current_user, count(DISTINCT birth_year) FROM users"
        ).fetchone()
        assert row == (acme.tenant.role("owner"), 1)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            evidence.connection.execute("UPDATE users SET birth_year = 1901")


@pytest.mark.slow
def test_a_tenant_of_a_catalog_of_ones_own_on_a_server_of_its_own(tmp_path: Path) -> None:
    columns = (Column("id", "integer"), Column("title", "text"))
    songs = Dataset("songs", "Songs.", columns, ("id",), volume=Volume(share=1))
    with sample_tenant(Catalog("songs", "1.0.0", (songs,)), home=tmp_path, rows=20) as tenant:
        untitled = of(Where("title = 'x'"), "songs")
        assert len(found(of(Where("true"), "songs"), tenant)) == 20
        first = "(SELECT min(id) FROM songs)"
        ((key,),) = found(of(Where(f"id = {first}"), "songs"), tenant)
        assert_finds(untitled, tenant, [f"UPDATE songs SET title = 'x' WHERE id = {first}"], keys=[int(key)])
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
