"""Newest and keep-both, whatever is loaded onto whatever is there: as a plain model says, row by row."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.loading import ConflictStrategy
from tenant_ops_tests.loading.shop import Shop
from tenant_ops_tests.loading.test_numbers import assert_numbers_add_up

OUTCOMES: tuple[str, ...] = ("inserted", "updated", "unchanged", "skipped", "quarantined")
Row = tuple[str, str, str, str]
Table = dict[str, Row]

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3"]),
        st.sampled_from(["", "", "a@b.c", "d@e.f"]),
        st.sampled_from(["Ann", "Ben"]),
        st.sampled_from(["", "2020-01-01", "2021-01-01", "2022-01-01"]),
    ),
    max_size=7,
)


def newest(table: Table, rows: list[Row]) -> tuple[Table, dict[str, int]]:
    """What a load should leave and count; an empty date sorts before every other."""
    counts = dict.fromkeys(OUTCOMES, 0)
    chosen: list[Row] = []
    for place, row in enumerate(rows):
        rivals = [(other[3], -at) for at, other in enumerate(rows) if other[0] == row[0]]
        there = table.get(row[0])
        if max(rivals) != (row[3], -place) or (there and there != row and row[3] <= there[3]):
            counts["skipped"] += 1
        else:
            chosen.append(row)
    return apply(table, chosen, counts)


def keep_both(table: Table, rows: list[Row]) -> tuple[Table, dict[str, int]]:
    """What a load should leave and count."""
    counts = dict.fromkeys(OUTCOMES, 0)
    first = [row for place, row in enumerate(rows) if row[0] not in {other[0] for other in rows[:place]}]
    chosen = [row for row in first if table.get(row[0], row) == row]
    counts["quarantined"] = len(rows) - len(chosen)
    return apply(table, chosen, counts)


def apply(table: Table, chosen: list[Row], counts: dict[str, int]) -> tuple[Table, dict[str, int]]:
    after = dict(table)
    for place, row in enumerate(chosen):
        repeated = row[1] in {other[1] for other in chosen[:place]}
        taken = any(other[1] == row[1] and other[0] != row[0] for other in table.values())
        if row[1] and (repeated or taken):
            counts["quarantined"] += 1
            continue
        there = table.get(row[0])
        counts["inserted" if there is None else "unchanged" if there == row else "updated"] += 1
        after[row[0]] = row
    return after, counts


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS, st.sampled_from([ConflictStrategy.NEWEST, ConflictStrategy.KEEP_BOTH]))
def test_the_table_is_as_the_model_says(
    shop: Shop, first: list[Row], second: list[Row], conflict: ConflictStrategy
) -> None:
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("TRUNCATE customers CASCADE")
    table: Table = {}
    for rows in (first, second):
        shop.csv("customers.csv", rows, ("id", "email", "name", "joined"))
        report = shop.load(conflict=conflict, newest_by="joined", force=True, datasets=["customers"])
        table, counts = (newest if conflict is ConflictStrategy.NEWEST else keep_both)(table, rows)
        assert_numbers_add_up(report)
        assert {name: getattr(report, name) for name in counts} == counts
        live = shop.rows("customers", "id email name joined")
        assert {tuple("" if value is None else str(value) for value in row) for row in live} == set(
            table.values()
        )
