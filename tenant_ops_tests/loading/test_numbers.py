"""Whatever is loaded onto whatever is there: the table is as a plain model says, and the numbers add up."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.loading import ConflictStrategy, Drift, LoadReport, Mode, execute_load
from tenant_ops.platform.errors import InputError
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
        for part in (stage, *stage.files):
            assert part.read == part.staged + part.quarantined + part.rejected + part.passed_over
        for name in ("read", "staged", "quarantined", "rejected", "passed_over", "bytes"):
            assert getattr(stage, name) == sum(getattr(file, name) for file in stage.files)
        assert stage.drift == tuple(drifted for file in stage.files for drifted in file.drift)
        assert sum(stage.reasons.values()) == stage.quarantined + stage.rejected
        if merge.state == "merged":
            assert (merge.read, merge.staged) == (stage.read, stage.staged)
            assert (merge.rejected, merge.passed_over) == (stage.rejected, stage.passed_over)
        arrived = merge.inserted + merge.updated + merge.unchanged + merge.skipped
        assert merge.staged == arrived + merge.quarantined - stage.quarantined
        assert merge.read == arrived + merge.quarantined + merge.rejected + merge.passed_over
        bad = merge.quarantined + merge.rejected
        assert sum(merge.reasons.values()) == bad
        complete = next(check for check in merge.checks if check.name == "complete")
        assert (complete.passed, complete.failed_rows) == (bad == 0, bad)
    for name in (
        "read",
        "inserted",
        "updated",
        "unchanged",
        "skipped",
        "quarantined",
        "rejected",
        "passed_over",
    ):
        assert getattr(report, name) == sum(getattr(load.merge, name) for load in report.datasets)
    assert report.deleted == sum(
        load.merge.deleted + sum(load.merge.taken_along.values()) for load in report.datasets
    )


def empty(shop: Shop) -> None:
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("TRUNCATE customers CASCADE")
        connection.execute(f"TRUNCATE {shop.tenant.stage_schema}.quarantine".encode())
        connection.execute(f"DELETE FROM {shop.tenant.stage_schema}.load".encode())


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
    empty(shop)
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


# With all columns, as objects have them: the files of one load must agree.
WIDE = "id,email,name,referred_by,tier,joined,left,profile"
JUNK = st.sampled_from(
    ["a,b", "1,a@b.c,Ann,,and,more", ",,,,,,,", '2,,"two\nlines",,,,,', "\x00,,,,,,,", "3,\ufffd,Ann,1,,,,"]
)
MORE = st.sampled_from([",gold,2024-01-01,,", ",lead,2023-01-01,,", ",,,2020-01-01,", ",,soon,,{"])
LINES = st.lists(
    ROWS.flatmap(lambda rows: MORE.map(lambda more: "\n".join(",".join(row) + more for row in rows))) | JUNK,
    max_size=4,
).map("\n".join)
OBJECTS = st.lists(
    st.sampled_from(
        [
            '{"id": 1, "name": "Ann"}',
            '{"id": "4", "name": null, "email": 7}',
            '{"id": 5, "name": "Ben", "colour": "red"}',
            '{"id": 2.5, "name": "Cem", "referred_by": 1}',
            "[1]",
            "nothing",
            "",
        ]
    ),
    max_size=5,
).map("\n".join)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(LINES, OBJECTS), min_size=1, max_size=2),
    st.sampled_from([each for each in ConflictStrategy if each is not ConflictStrategy.FAIL]),
    st.sampled_from(Mode),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_the_numbers_add_up_whatever_is_loaded_and_however(
    shop: Shop,
    loads: list[tuple[str, str]],
    conflict: ConflictStrategy,
    mode: Mode,
    batch_rows: int,
    parallel_files: int,
) -> None:
    empty(shop)
    for lines, objects in loads:
        shop.write("customers.csv", f"{WIDE}\n{lines}")
        shop.write("customers.ndjson", objects)
        plan = shop.plan(
            datasets=["customers"],
            mode=mode,
            conflict=None if mode is Mode.FULL else conflict,
            newest_by="joined",
            incremental_by="id",
            drift=Drift.IGNORE,
            force=mode is Mode.FULL,
            batch_rows=batch_rows,
            parallel_files=parallel_files,
        )
        try:
            report = execute_load(shop.fleet, plan, safety_copy=lambda _: "a copy")
        except InputError as refused:
            assert (mode, "nothing was merged" in str(refused).lower()) == (Mode.FULL, True), refused
            continue
        assert_numbers_add_up(report)
        with shop.fleet.session(shop.tenant) as connection:
            table = f"{shop.tenant.stage_schema}.quarantine"
            kept = connection.execute(
                f"SELECT count(*), count(*) FILTER (WHERE jsonb_typeof(raw) = 'string') FROM {table} "
                "WHERE raw IS NOT NULL AND load_id = %s".encode(),
                (report.datasets[0].merge.load_id,),
            ).fetchone()
        assert kept == (report.quarantined + report.rejected, report.rejected)
