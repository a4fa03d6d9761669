"""Columns nobody knows, under the contract `evolve`: what is proposed, and that migrations can use it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import Column, Dataset, Drift
from tenant_ops.loading.proposals import guess_type, proposals_for, propose_columns
from tenant_ops.migrations import load_releases
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import Shop

PEOPLE = Dataset("people", "People.", (Column("id", "integer"), Column("nick", "text")), ("id",))
HEADER = "id,name,Nick Name,points\n"


def propose(home: Path, **samples: list[str]) -> list[str]:
    return [path.name for path in propose_columns(home, "1.0.0", PEOPLE, samples)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["550e8400-e29b-41d4-a716-446655440000"], "uuid"),
        (["550e8400e29b41d4a716446655440000"], "text"),
        (["1", "-2", "0"], "integer"),
        (["1", "3000000000"], "bigint"),
        (["1", "9223372036854775808"], "numeric"),
        (["1.5", "2"], "numeric"),
        (["007", "1"], "text"),
        (["+49 30"], "text"),
        (["+49"], "text"),
        (["0.5", "0"], "numeric"),
        (["1", "0"], "integer"),
        (["true", "no"], "boolean"),
        (["2024-05-06"], "date"),
        (["2024-05-06", "2024-05-06T07:08:09Z"], "timestamptz"),
        (["192.168.0.1", "::1"], "inet"),
        (['{"a": 1}', "[]"], "jsonb"),
        (['"a"'], "text"),
        (["", "1"], "text"),
        (["a\x00"], "text"),
        ([], "text"),
    ],
)
def test_a_type_is_guessed_that_takes_every_value(values: list[str], kind: str) -> None:
    assert guess_type(values) == kind


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-(2**70), 2**70).map(str) | st.dates().map(str) | st.text(max_size=5), max_size=5)
)
def test_what_is_guessed_of_some_values_is_never_narrower_than_what_is_guessed_of_more(
    values: list[str],
) -> None:
    kinds = [
        "uuid",
        "integer",
        "bigint",
        "numeric",
        "boolean",
        "date",
        "timestamptz",
        "inet",
        "jsonb",
        "text",
    ]
    if values:
        assert kinds.index(guess_type(values)) >= kinds.index(guess_type(values[:1]))


def test_loading_passes_unknown_columns_over_and_proposes_a_migration_for_each(shop: Shop) -> None:
    shop.write("customers.1.csv", HEADER + "1,Ada,lovely,5\n2,Bob,,7\n")
    shop.ndjson("customers.2.ndjson", [{"id": 3, "name": "Cem", "points": 8, "seen": {"at": None}}])
    with pytest.raises(InputError, match=r"has no column 'Nick Name'"):
        shop.load()
    shop.folder.joinpath("customers.2.ndjson").unlink()
    report = shop.load(drift=Drift.EVOLVE)
    assert report.inserted == 2
    staged = report.datasets[0].stage
    names = [Path(path).name for path in staged.proposals]
    assert names == ["010_add_customers_nick_name", "010_add_customers_points"]
    assert {(entry.column, entry.outcome) for entry in staged.drift if entry.kind == "unknown"} == {
        (name, "passed over, and a migration that adds it is proposed") for name in ("Nick Name", "points")
    }
    folder = Path(staged.proposals[0])
    assert folder.parent == shop.fleet.settings.home / "proposals" / "1.0.0"
    assert (folder / "up.sql").read_text() == (
        '-- Column("nick_name", "text", nullable=True, source=\'Nick Name\')\n'
        'ALTER TABLE "customers" ADD COLUMN "nick_name" TEXT;\n'
    )
    assert "lovely" not in "".join(path.read_text() for path in folder.iterdir())


def test_members_of_objects_are_proposed_as_what_they_hold(shop: Shop) -> None:
    row = {"id": 3, "name": "Cem", "points": 8.5, "seen": {"at": None}, "vip": True, "gone": None}
    shop.ndjson("customers.ndjson", [row])
    [load] = [each for each in shop.load(drift="evolve").datasets if each.dataset == "customers"]
    added = [Path(path, "up.sql").read_text().split('"')[3] for path in load.stage.proposals]
    assert sorted(added) == sorted(["numeric", "jsonb", "boolean", "text"])


def test_without_the_contract_nothing_is_proposed(shop: Shop) -> None:
    shop.write("customers.csv", HEADER + "1,Ada,lovely,5\n")
    [stage] = [load.stage for load in shop.load(drift=Drift.IGNORE).datasets if load.dataset == "customers"]
    assert stage.proposals == ()
    assert not (shop.fleet.settings.home / "proposals").exists()


def test_a_proposal_is_a_step_migrations_can_take_over(tmp_path: Path) -> None:
    odd = {"2nd; DROP TABLE x--": ["1"], "order": ["a"], "Über\nname": [], "nick": ["x"], "x" * 80: ["y"]}
    paths = propose_columns(tmp_path, "1.0.0", PEOPLE, odd)
    release = tmp_path / "releases" / "1.1.0"
    release.mkdir(parents=True)
    for path in paths:
        path.rename(release / path.name)
    [loaded] = load_releases(tmp_path / "releases")
    assert (loaded.version, loaded.starts_from) == ("1.1.0", "1.0.0")
    assert len(loaded.steps) == 5
    assert {step.reversible for step in loaded.steps} == {"lossy"}
    ups = [step.sql["up"].splitlines()[1] for step in loaded.steps]
    assert 'ALTER TABLE "people" ADD COLUMN "order" TEXT;' in ups
    assert 'ALTER TABLE "people" ADD COLUMN "column_2nd_drop_table_x" INTEGER;' in ups


def test_the_same_is_proposed_once_and_something_wider_beside_it(tmp_path: Path) -> None:
    assert propose(tmp_path, age=["1", "2"]) == ["010_add_people_age"]
    before = (tmp_path / "proposals/1.0.0/010_add_people_age/up.sql").stat().st_mtime_ns
    assert propose(tmp_path, age=["1"]) == ["010_add_people_age"]
    assert propose(tmp_path, age=["old"]) == ["020_add_people_age"]
    assert propose(tmp_path, age=["3"]) == ["010_add_people_age"]
    assert propose(tmp_path, age=["young"]) == ["020_add_people_age"]
    assert (tmp_path / "proposals/1.0.0/010_add_people_age/up.sql").stat().st_mtime_ns == before
    assert [path.name for path in proposals_for(tmp_path, "1.0.0", PEOPLE, ["age", "size"])] == [
        "010_add_people_age",
        "020_add_people_age",
    ]


def test_many_may_propose_the_same_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: propose(tmp_path, age=["1"], size=["2.5"]), range(40)))
    assert found == [["010_add_people_age", "010_add_people_size"]] * 40
    assert len(list((tmp_path / "proposals" / "1.0.0").iterdir())) == 2
