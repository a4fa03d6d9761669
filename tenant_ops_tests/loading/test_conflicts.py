"""What happens to a row that is there already, under each strategy."""

from collections.abc import Sequence
from typing import Any

import pytest

from tenant_ops.loading import ConflictStrategy, LoadReport
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import Shop

HEADER = ("id", "email", "name", "tier")


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """A shop with two customers, and a file with one of them as it is, one changed, and a new one."""
    shop.csv("customers.csv", [HEADER, (1, "ada@x.org", "Ada", "gold"), (2, "bob@x.org", "Bob", "gold")])
    shop.load()
    shop.csv(
        "customers.csv",
        [HEADER, (1, "ada@x.org", "Ada", "gold"), (2, "", "Bobby", ""), (3, "cem@x.org", "Cem", "")],
    )
    return shop


def counts(shop: Shop, conflict: ConflictStrategy) -> tuple[int, int, int, int]:
    report = shop.load(conflict=conflict)
    return report.inserted, report.updated, report.unchanged, report.skipped


def test_overwrite_replaces_it(stocked: Shop) -> None:
    assert counts(stocked, ConflictStrategy.OVERWRITE) == (1, 1, 1, 0)
    assert stocked.rows("customers", "id email name tier") == [
        (1, "ada@x.org", "Ada", "gold"),
        (2, None, "Bobby", None),
        (3, "cem@x.org", "Cem", None),
    ]


def test_merge_fills_it_with_what_is_not_empty(stocked: Shop) -> None:
    assert counts(stocked, ConflictStrategy.MERGE) == (1, 1, 1, 0)
    assert stocked.rows("customers", "id email name tier")[1] == (2, "bob@x.org", "Bobby", "gold")


def test_skip_keeps_it(stocked: Shop) -> None:
    assert counts(stocked, ConflictStrategy.SKIP) == (1, 0, 0, 2)
    assert stocked.rows("customers", "id name") == [(1, "Ada"), (2, "Bob"), (3, "Cem")]


def test_fail_merges_nothing_says_where_and_can_be_merged_another_way(stocked: Shop) -> None:
    with pytest.raises(
        InputError, match=r"2 rows have a id that is there already, the first on line 2 of customers"
    ):
        stocked.load(conflict=ConflictStrategy.FAIL)
    assert len(stocked.rows("customers")) == 2
    assert stocked.stages() == ["stage_customers"]
    assert stocked.merge("customers", conflict=ConflictStrategy.SKIP).inserted == 1


def test_fail_lets_a_load_without_conflicts_through(shop: Shop) -> None:
    shop.csv("customers.csv", [HEADER, (1, "", "Ada", "")])
    assert counts(shop, ConflictStrategy.FAIL) == (1, 0, 0, 0)


REMERGED = {
    ConflictStrategy.SKIP: (0, 0, 3),
    ConflictStrategy.OVERWRITE: (0, 3, 0),
    ConflictStrategy.MERGE: (0, 3, 0),
    ConflictStrategy.NEWEST: (0, 3, 0),
    ConflictStrategy.KEEP_BOTH: (0, 3, 0),
}


@pytest.mark.parametrize(("conflict", "expected"), REMERGED.items())
def test_an_unchanged_row_is_not_written(
    stocked: Shop, conflict: ConflictStrategy, expected: tuple[int, int, int]
) -> None:
    def versions() -> list[tuple[Any, ...]]:
        with stocked.fleet.session(stocked.tenant) as connection:
            return connection.execute(
                "SELECT id, ctid::text, xmin::text, xmax::text FROM customers ORDER BY id"
            ).fetchall()

    stocked.load()
    before = versions()
    report = stocked.load(conflict=conflict, newest_by="name", force=True)
    assert (report.updated, report.unchanged, report.skipped) == expected
    assert report.quarantined == 0
    assert versions() == before


def test_a_dataset_that_is_all_key_has_nothing_to_overwrite(shop: Shop) -> None:
    shop.csv("customers.csv", [("id", "name"), (1, "Ada")])
    shop.load()
    shop.csv("Orders.csv", [("Customer", "No.", "Total amount"), (1, 1, 5)])
    shop.load()
    assert shop.load(force=True).unchanged == 2


def test_merging_values_must_not_break_a_row_rule(shop: Shop) -> None:
    shop.csv("customers.csv", [("id", "name", "joined", "left"), (1, "Ada", "2020-01-01", "2021-01-01")])
    shop.load()
    shop.csv("customers.csv", [("id", "name", "joined", "left"), (1, "Ada", "2022-01-01", "")])
    report = shop.load(conflict=ConflictStrategy.MERGE)
    assert report.quarantined == 1
    assert shop.faults() == [
        (
            "customers.csv",
            2,
            "joined, left",
            "2022-01-01, ",
            "merged with the row that is there, joined would be after left",
        )
    ]


DATED = ("id", "email", "name", "joined")


def newest(shop: Shop, *rows: Sequence[Any], **options: Any) -> LoadReport:
    shop.csv("customers.csv", rows, DATED)
    return shop.load(conflict=ConflictStrategy.NEWEST, newest_by="joined", **options)


def tally(report: LoadReport) -> tuple[int, int, int, int, int]:
    return report.inserted, report.updated, report.unchanged, report.skipped, report.quarantined


@pytest.fixture
def dated(shop: Shop) -> Shop:
    """A shop with three customers: one of 2020, one of 2022, one of no known date."""
    newest(shop, (1, "", "Ada", "2020-01-01"), (2, "", "Ben", "2022-01-01"), (3, "", "Cem", ""))
    return shop


def test_newest_replaces_only_older_rows(dated: Shop) -> None:
    report = newest(
        dated,
        (1, "", "later", "2020-01-02"),
        (2, "", "earlier", "2021-12-31"),
        (3, "", "known now", "1999-01-01"),
        (4, "", "new", ""),
    )
    assert tally(report) == (1, 2, 0, 1, 0)
    assert dated.rows("customers", "id name") == [(1, "later"), (2, "Ben"), (3, "known now"), (4, "new")]


def test_of_rows_as_new_the_one_that_is_there_stays(dated: Shop) -> None:
    report = newest(dated, (1, "", "other", "2020-01-01"), (2, "", "Ben", "2022-01-01"), (3, "", "x", ""))
    assert tally(report) == (0, 0, 1, 2, 0)
    assert dated.rows("customers", "name") == [("Ada",), ("Ben",), ("Cem",)]


def test_a_history_is_loaded_as_its_newest_rows(dated: Shop) -> None:
    report = newest(
        dated,
        (1, "", "second", "2021-06-01"),
        (1, "", "third", "2021-07-01"),
        (1, "", "no date", ""),
        (4, "", "first of two", "2000-01-01"),
        (4, "", "as new as the first", "2000-01-01"),
        (2, "", "too old", "1999-01-01"),
        (2, "", "old", "2000-01-01"),
    )
    assert tally(report) == (1, 1, 0, 5, 0)
    assert dated.rows("customers", "id name") == [
        (1, "third"),
        (2, "Ben"),
        (3, "Cem"),
        (4, "first of two"),
    ]
    assert dated.faults() == []


def test_an_old_row_does_not_claim_a_unique_value_that_went_to_another(dated: Shop) -> None:
    newest(dated, (2, "x@y.zz", "Ben", "2023-01-01"))
    report = newest(dated, (1, "x@y.zz", "Ada", "2019-01-01"), (1, "", "Ada", "2024-01-01"))
    assert tally(report) == (0, 1, 0, 1, 0)


def test_newest_needs_no_validation_to_choose_among_rows(dated: Shop) -> None:
    report = newest(dated, (5, "", "a", "2020-01-01"), (5, "", "b", "2021-01-01"), validate=False)
    assert tally(report) == (1, 0, 0, 1, 0)
    assert dated.rows("customers", "name")[-1] == ("b",)


def test_newest_must_know_by_which_column(shop: Shop) -> None:
    shop.csv("customers.csv", [HEADER])  # the other dataset has no files to decide about
    with pytest.raises(InputError, match="which of two rows is newer, and no column is named"):
        shop.plan(conflict=ConflictStrategy.NEWEST)
    with pytest.raises(InputError, match="there is no column age"):
        shop.plan(conflict=ConflictStrategy.NEWEST, newest_by="age")


def test_newest_needs_that_column_in_the_files(stocked: Shop) -> None:
    with pytest.raises(InputError, match="the files have no column joined"):
        stocked.load(conflict=ConflictStrategy.NEWEST, newest_by="joined")


def test_keep_both_puts_the_incoming_row_aside(stocked: Shop) -> None:
    report = stocked.load(conflict=ConflictStrategy.KEEP_BOTH)
    assert tally(report) == (1, 0, 1, 0, 1)
    assert stocked.rows("customers", "id name") == [(1, "Ada"), (2, "Bob"), (3, "Cem")]
    assert stocked.faults() == [("customers.csv", 3, "id", "2", "a row with this key is there and differs")]
    assert stocked.quarantine()[0]["check_name"] == "keys"
    assert stocked.quarantine()[0]["raw"]["name"] == "Bobby"


def test_keep_both_does_so_without_validation_too(stocked: Shop) -> None:
    assert tally(stocked.load(conflict=ConflictStrategy.KEEP_BOTH, validate=False)) == (1, 0, 1, 0, 1)


def test_a_row_put_aside_does_not_claim_its_unique_value(stocked: Shop) -> None:
    stocked.csv("customers.csv", [HEADER, (2, "new@x.org", "Bobby", ""), (4, "new@x.org", "Dot", "")])
    assert tally(stocked.load(conflict=ConflictStrategy.KEEP_BOTH)) == (1, 0, 0, 0, 1)
    assert stocked.rows("customers", "id email")[-1] == (4, "new@x.org")
