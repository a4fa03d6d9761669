"""Whatever is loaded onto whatever is there: the table is as a plain model says, and the numbers add up."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.loading import ConflictStrategy, LoadReport
from tenant_ops_tests.loading.shop import Shop

HEADER = ("id", "email", "name", "referred_by")
Row = tuple[str, str, str, str]
Table = dict[int, tuple[str | None, str, int | None]]

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "4", "5", "x", "", "2147483648"]),
        st.sampled_from(["", "", "a@b.c", "d@e.f", "no"]),
        st.sampled_from(["Ann", "Ben", "Cem", "", "much longer than twenty"]),
        st.sampled_from(["", "", "1", "2", "3", "9", "?"]),
    ).filter(any),
    max_size=8,
)


@dataclass
class Model:
    """The customers table, and what loading rows into it should do, row by row and without SQL."""

    table: Table

    def load(self, rows: list[Row], conflict: ConflictStrategy) -> dict[str, int]:
        good = [row for row in rows if self._fits(row)]
        good = self._first_of(good, 0)
        good = self._first_of(good, 1)
        good = [row for row in good if not self._is_taken(row)]
        before = len(good) + 1
        while len(good) < before:
            before = len(good)
            known = {str(key) for key in self.table} | {row[0] for row in good}
            good = [row for row in good if row[3] in {"", *known}]
        counts = {
            "inserted": 0,
            "updated": 0,
            "unchanged": 0,
            "skipped": 0,
            "quarantined": len(rows) - len(good),
        }
        after = dict(self.table)
        for row in good:
            counts[self._apply(after, row, conflict)] += 1
        self.table = after
        return counts

    def _apply(self, after: Table, row: Row, conflict: ConflictStrategy) -> str:
        key, new = int(row[0]), (row[1] or None, row[2], int(row[3]) if row[3] else None)
        old = self.table.get(key)
        if old is None:
            after[key] = new
            return "inserted"
        if conflict is ConflictStrategy.SKIP:
            return "skipped"
        if conflict is ConflictStrategy.MERGE:
            new = (new[0] or old[0], new[1], old[2] if new[2] is None else new[2])
        after[key] = new
        return "unchanged" if new == old else "updated"

    def _is_taken(self, row: Row) -> bool:
        return any(email == row[1] and str(key) != row[0] for key, (email, _, _) in self.table.items())

    @staticmethod
    def _fits(row: Row) -> bool:
        return (
            row[0] in "12345"
            and bool(row[0])
            and row[1] != "no"
            and row[2] in ("Ann", "Ben", "Cem")
            and row[3] != "?"
        )

    @staticmethod
    def _first_of(rows: list[Row], column: int) -> list[Row]:
        values = [row[column] for row in rows]
        return [row for place, row in enumerate(rows) if not row[column] or row[column] not in values[:place]]


def assert_numbers_add_up(report: LoadReport) -> None:
    for load in report.datasets:
        stage, merge = load.stage, load.merge
        assert stage.read == stage.staged + stage.quarantined
        assert stage.read == sum(file.read for file in stage.files)
        assert stage.staged == sum(file.staged for file in stage.files)
        assert sum(stage.reasons.values()) == stage.quarantined
        assert (merge.read, merge.staged) == (stage.read, stage.staged)
        assert merge.staged == (
            merge.inserted
            + merge.updated
            + merge.unchanged
            + merge.skipped
            + (merge.quarantined - stage.quarantined)
        )
        assert sum(merge.reasons.values()) == merge.quarantined
        complete = next(check for check in merge.checks if check.name == "complete")
        assert (complete.passed, complete.failed_rows) == (merge.quarantined == 0, merge.quarantined)
    for name in ("read", "inserted", "updated", "unchanged", "skipped", "quarantined"):
        assert getattr(report, name) == sum(getattr(load.merge, name) for load in report.datasets)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ROWS,
    ROWS,
    st.sampled_from([ConflictStrategy.SKIP, ConflictStrategy.OVERWRITE, ConflictStrategy.MERGE]),
    st.integers(1, 9),
)
def test_the_table_is_as_the_model_says_and_the_numbers_add_up(
    shop: Shop, first: list[Row], second: list[Row], conflict: ConflictStrategy, batch_rows: int
) -> None:
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("TRUNCATE customers CASCADE")
        connection.execute(f"TRUNCATE {shop.tenant.stage_schema}.quarantine")
    model = Model({})
    for rows in (first, second):
        shop.csv("customers.csv", rows, HEADER)
        expected = model.load(rows, conflict)
        report = shop.load(conflict=conflict, force=True, batch_rows=batch_rows, datasets=["customers"])
        assert_numbers_add_up(report)
        assert {name: getattr(report, name) for name in expected} == expected
        live = shop.rows("customers", "id email name referred_by")
        assert {row[0]: row[1:] for row in live} == model.table
        assert report.datasets[0].merge.total == len(live)
    rows_in_quarantine = [entry for entry in shop.quarantine() if entry["raw"] is not None]
    assert len(rows_in_quarantine) + report.read - report.quarantined >= len(second)
