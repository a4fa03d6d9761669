"""Functions of others that look for themselves: as the tenant's owner, read only, and kept to queries."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation import (
    Evidence,
    Look,
    Rule,
    Sighting,
    Unchecked,
    execute_validation,
    plan_validation,
)
from tenant_ops.validation.scanning import trusted

Sound = tuple[Fleet, Tenant]


def looking(look: Callable[[Evidence], Any], name: str = "own") -> Rule:
    return Rule(
        f"business.{name}", "business", "info", "It holds.", "Mend it.", Look(look), origin="mine.own"
    )


def look_at(sound: Sound, *looks: Callable[[Evidence], Any]) -> tuple[list[str], list[Unchecked]]:
    """Subjects seen by the functions, and what was left unchecked, of a validation with them."""
    fleet, tenant = sound
    rules = [looking(look, f"own{number}") for number, look in enumerate(looks)]
    report = execute_validation(fleet, plan_validation(fleet, tenant, types=["business"], rules=rules))
    ids = {rule.id for rule in rules}
    return (
        [finding.subject for finding in report.findings if finding.rule in ids],
        [one for one in report.unchecked if one.rule in ids],
    )


def query(text: str) -> Callable[[Evidence], Iterator[Sighting]]:
    def look(evidence: Evidence) -> Iterator[Sighting]:
        for row in evidence.connection.execute(trusted(text)):
            yield Sighting(str(row[0]), "seen")

    return look


WRITES = {
    "an update": ("UPDATE artists SET name = 'x'", "syntax error"),
    "an insert that answers": ("INSERT INTO artists SELECT * FROM artists RETURNING name", "syntax error"),
    "a write inside a query": (
        "WITH gone AS (DELETE FROM artists RETURNING name) SELECT name FROM gone",
        "FeatureNotSupported",
    ),
    "a sequence": ("SELECT nextval('writes_s')", "ReadOnly"),
    "a table of its own": ("CREATE TABLE mine (a int)", "syntax error"),
    "the end of the transaction": ("COMMIT", "syntax error"),
    "two statements": ("SELECT 1; COMMIT; DELETE FROM artists", "multiple commands"),
    "a switch to writing": (
        "SELECT set_config('transaction_read_only', 'off', true)",
        "ActiveSqlTransaction",
    ),
    "a large object": ("SELECT lo_create(0)", "ReadOnly"),
}


@pytest.mark.parametrize(("text", "said"), WRITES.values(), ids=WRITES)
def test_a_function_of_others_cannot_write(sound: Sound, text: str, said: str) -> None:
    fleet, tenant = sound
    with fleet.session(tenant) as connection:
        connection.execute("CREATE SEQUENCE writes_s")
        before = connection.execute("SELECT * FROM artists ORDER BY 1").fetchall()
    try:
        subjects, unchecked = look_at(sound, query(text), query("SELECT 'still here'"))
    finally:
        with fleet.session(tenant) as connection:
            connection.execute("DROP SEQUENCE writes_s")
    assert subjects == ["still here"]
    assert [one.rule for one in unchecked] == ["business.own0"]
    assert said in unchecked[0].reason
    with fleet.session(tenant) as connection:
        assert connection.execute("SELECT * FROM artists ORDER BY 1").fetchall() == before


def test_another_tenant_is_not_seen(sound: Sound) -> None:
    fleet = sound[0]
    provision(fleet, "globex")
    other = fleet.registry.get("globex")
    looks = (
        query(f"SELECT email FROM {other.schema_name}.users"),
        query("SELECT slug FROM tenant_ops.tenant"),
        query("SELECT current_user"),
    )
    subjects, unchecked = look_at(sound, *looks)
    assert subjects == [sound[1].role("owner")]
    assert ["permission denied" in one.reason for one in unchecked] == [True, True]


def test_it_has_no_way_to_the_operators_rights(sound: Sound) -> None:
    def as_operator(evidence: Evidence) -> Iterator[Sighting]:
        with evidence.as_operator() as connection:
            yield Sighting(str(connection.execute("SELECT current_user").fetchone()), "seen")

    def commits(evidence: Evidence) -> Iterator[Sighting]:
        evidence.connection.commit()
        yield Sighting("committed", "seen")

    subjects, unchecked = look_at(sound, as_operator, commits)
    assert subjects == []
    assert "looks as the tenant's owner" in unchecked[0].reason
    assert unchecked[1].reason.startswith("mine.own raised AttributeError (test_looks.py, line ")


def test_what_it_set_does_not_outlive_it(sound: Sound) -> None:
    sets = query("SELECT set_config('search_path', 'pg_catalog', true)")
    subjects, unchecked = look_at(sound, sets, query("SELECT count(*) > 0 FROM artists"))
    assert (subjects, unchecked) == (["pg_catalog", "True"], [])


def fails(evidence: Evidence) -> Iterator[Sighting]:
    email = evidence.connection.execute("SELECT email FROM users LIMIT 1").fetchone()
    raise ValueError(f"cannot deal with {email}")


def swallows(evidence: Evidence) -> Iterator[Sighting]:
    try:
        evidence.connection.execute("SELECT 1 / 0")
    except Exception as error:
        yield Sighting(type(error).__name__, "seen")


def yields_text(evidence: Evidence) -> list[str]:
    return ["a problem"]


def yields_nothing(evidence: Evidence) -> None:
    evidence.connection.execute("SELECT 1")


def test_a_function_that_fails_says_where_and_quotes_no_row(sound: Sound) -> None:
    subjects, unchecked = look_at(
        sound, fails, swallows, yields_text, yields_nothing, query("SELECT 'the next one'")
    )
    assert subjects == ["the next one"]
    reasons = [one.reason for one in unchecked]
    assert reasons[0].startswith("mine.own raised ValueError (test_looks.py, line ")
    assert "@" not in reasons[0]
    assert reasons[1] == "mine.own went on after a query of its had failed."
    assert reasons[2] == "mine.own yielded str instead of a Sighting."
    assert reasons[3].startswith("mine.own raised TypeError")
