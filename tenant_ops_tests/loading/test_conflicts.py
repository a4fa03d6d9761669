"""What happens to a row that is there already, under each strategy."""

import pytest

from tenant_ops.loading import ConflictStrategy
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


@pytest.mark.parametrize("conflict", [ConflictStrategy.OVERWRITE, ConflictStrategy.MERGE])
def test_an_unchanged_row_is_not_written(stocked: Shop, conflict: ConflictStrategy) -> None:
    def versions() -> list[object]:
        with stocked.fleet.session(stocked.tenant) as connection:
            return connection.execute(
                "SELECT id, ctid::text, xmin::text FROM customers ORDER BY id"
            ).fetchall()

    stocked.load(conflict=conflict)
    before = versions()
    report = stocked.load(conflict=conflict, force=True)
    assert (report.updated, report.unchanged) == (0, 3)
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
