"""A load from end to end: what arrives, in which order, and what is not written twice."""

import datetime as dt
import gzip
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import zstandard

from tenant_ops.audit import history
from tenant_ops.loading import ConflictStrategy, execute_load
from tenant_ops.loading.operation import shipped_fixtures
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.settings import fixtures_root
from tenant_ops_tests.loading.shop import Shop

CUSTOMERS = "id,email,name,tier,joined,left,referred_by,profile\n"
ADA = '1,ada@x.org,Ada,gold,2020-01-01,,,"{""a"": 1}"\n'
BOB = "2,,Bob,,,,1,\n"
ORDERS = "Customer,No.,Total amount,paid,placed_at\n"


def test_rows_of_every_format_arrive_as_they_are(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA + BOB)
    shop.write("Orders.1.csv.gz", gzip.compress((ORDERS + "1,1,0.10,true,2024-05-06T07:08:09Z\n").encode()))
    shop.write("Orders.2.tsv.zst", zstandard.compress((ORDERS + "1,2,5,f,\n").replace(",", "\t").encode()))
    shop.ndjson(
        "Orders.3.ndjson",
        [{"Customer": 1, "No.": 3, "Total amount": 2.5, "paid": True, "placed_at": "2024-05-06 09:08+02"}],
    )
    shop.write(
        "Orders.4.json",
        '[{"Customer": 2, "No.": 4, "Total amount": 12.3456789012345678901, "paid": false}]',
    )
    moment = arrow.array([dt.datetime(2024, 5, 6, 7, 8, tzinfo=dt.UTC)], arrow.timestamp("us", tz="UTC"))
    parquet.write_table(
        arrow.table(
            {
                "Customer": arrow.array([2], arrow.int32()),
                "No.": arrow.array([5], arrow.int64()),
                "Total amount": arrow.array([Decimal("7.50")], arrow.decimal128(10, 2)),
                "paid": arrow.array([True]),
                "placed_at": moment.cast(arrow.timestamp("us", tz="Europe/Berlin")),
            }
        ),
        shop.folder / "Orders.5.parquet",
    )
    report = shop.load()
    assert (report.read, report.inserted, report.quarantined) == (7, 7, 0)
    assert shop.rows("customers") == [
        (1, "ada@x.org", "Ada", "gold", dt.date(2020, 1, 1), None, None, {"a": 1}),
        (2, None, "Bob", None, None, None, 1, None),
    ]
    utc = dt.UTC
    assert shop.rows("orders") == [
        (1, 1, Decimal("0.10"), True, dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=utc)),
        (1, 2, Decimal(5), False, None),
        (1, 3, Decimal("2.5"), True, dt.datetime(2024, 5, 6, 7, 8, tzinfo=utc)),
        (2, 4, Decimal("12.3456789012345678901"), False, None),
        (2, 5, Decimal("7.50"), True, dt.datetime(2024, 5, 6, 7, 8, tzinfo=utc)),
    ]
    assert shop.stages() == []


def test_datasets_are_merged_after_those_they_refer_to(shop: Shop) -> None:
    shop.csv("Orders.csv", [(1, 1, 5, "t", "")], ORDERS.strip().split(","))
    shop.write("customers.csv", CUSTOMERS + ADA)
    assert [load.dataset for load in shop.load().datasets] == ["customers", "orders"]
    assert len(shop.rows("orders")) == 1


def test_the_same_bytes_again_are_not_read(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    shop.load()
    again = shop.plan()
    assert [(part.files, len(part.skipped)) for part in again.datasets] == [((), 1), ((), 0)]
    report = shop.load()
    assert (report.read, report.inserted, report.unchanged) == (0, 0, 0)
    assert [load.merge.state for load in report.datasets] == ["unchanged", "unchanged"]
    assert report.datasets[0].merge.total == 1


def test_a_renamed_copy_is_not_read_either(shop: Shop) -> None:
    path = shop.write("customers.csv", CUSTOMERS + ADA)
    shop.load()
    path.rename(shop.folder / "customers.renamed.csv")
    assert shop.plan().of("customers").files == ()


def test_undoing_a_change_to_a_file_undoes_it_in_the_table(shop: Shop) -> None:
    for text, name in ((ADA, "Ada"), (ADA.replace("Ada", "Eve"), "Eve"), (ADA, "Ada")):
        shop.write("customers.csv", CUSTOMERS + text)
        shop.load()
        assert shop.rows("customers", "name") == [(name,)]


def test_another_strategy_or_force_reads_the_same_bytes_again(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    shop.load()
    assert len(shop.plan(conflict=ConflictStrategy.MERGE).of("customers").files) == 1
    assert len(shop.plan(conflict=ConflictStrategy.SKIP).of("customers").files) == 0
    assert len(shop.plan(force=True).of("customers").files) == 1


def test_a_changed_definition_reads_the_same_bytes_again(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    shop.load()
    customers = shop.fleet.catalog["customers"]
    stricter = replace(
        customers,
        columns=(*customers.columns[:2], replace(customers.columns[2], rules=()), *customers.columns[3:]),
    )
    catalog = replace(shop.fleet.catalog, datasets=(shop.fleet.catalog["orders"], stricter))
    other = replace(shop, fleet=replace(shop.fleet, catalog=catalog))
    assert len(other.plan().of("customers").files) == 1


def test_the_two_steps_can_be_run_apart_and_repeated(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA + "x,,Bad,,,,,\n")
    first = shop.stage("customers")
    assert (first.state, first.read, first.staged, first.quarantined) == ("staged", 2, 1, 1)
    assert shop.rows("customers") == []
    second = shop.stage("customers")
    assert (second.state, second.rows_per_second, second.mb_per_second) == ("reused", None, None)
    now = {"state": "staged", "seconds": 0.0, "rows_per_second": None, "mb_per_second": None}
    assert replace(second, **now) == replace(first, **now), "reused, and reported alike"
    merged = shop.merge("customers")
    assert (merged.state, merged.read, merged.staged, merged.inserted, merged.quarantined) == (
        "merged",
        2,
        1,
        1,
        1,
    )
    assert shop.merge("customers").state == "unchanged"
    assert len(shop.quarantine()) == 1


def test_a_stage_of_other_files_is_replaced_with_its_quarantine(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + "x,,Bad,,,,,\n")
    shop.stage("customers")
    shop.write("customers.csv", CUSTOMERS + ADA)
    assert shop.stage("customers").quarantined == 0
    assert shop.quarantine() == []
    assert shop.merge("customers").inserted == 1


def test_what_is_bad_in_one_file_leaves_the_staged_ones_before_it(shop: Shop) -> None:
    shop.write("customers.1.csv", CUSTOMERS + ADA)
    shop.write("customers.2.csv", "id,surname\n")
    with pytest.raises(
        InputError, match=r"customers\.2\.csv, line 1, column 2: customers has no column 'surname'"
    ):
        shop.load()
    assert shop.rows("customers") == []
    shop.write("customers.2.csv", CUSTOMERS + BOB)
    report = shop.load()
    assert [file.staged for file in report.datasets[0].stage.files] == [1, 1]
    assert len(shop.rows("customers")) == 2


def test_a_bad_file_may_also_be_taken_away(shop: Shop) -> None:
    shop.write("customers.1.csv", CUSTOMERS + ADA)
    bad = shop.write("customers.2.csv", "id,surname\n")
    with pytest.raises(InputError):
        shop.load()
    bad.unlink()
    assert shop.load().inserted == 1


def test_a_file_without_rows_is_loaded_as_such(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS)
    report = shop.load()
    assert (report.read, report.datasets[0].merge.state) == (0, "merged")
    assert shop.plan().of("customers").files == ()


def test_no_table_changes_when_any_file_cannot_be_used(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    shop.write("Orders.json", '[{"Customer": 1')
    with pytest.raises(InputError, match=r"Orders\.json, line 1"):
        shop.load()
    assert shop.rows("customers") == []


def test_a_file_that_changes_after_the_plan_is_not_taken_for_what_was_planned(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    plan = shop.plan()
    shop.write("customers.csv", CUSTOMERS + ADA + BOB)
    with pytest.raises(InputError, match=r"customers\.csv: the file changed after the load was planned"):
        execute_load(shop.fleet, plan)
    assert shop.stages() == []
    assert shop.load().inserted == 2


def test_files_of_one_load_must_have_the_same_columns(shop: Shop) -> None:
    shop.write("customers.1.csv", CUSTOMERS + ADA)
    shop.write("customers.2.csv", "id,name\n2,Bob\n")
    with pytest.raises(InputError, match=r"customers\.2\.csv: the columns .*tier are in only one"):
        shop.load()


def test_a_column_that_is_left_out_takes_its_default_and_overwrites_nothing(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    shop.write("Orders.csv", "Customer,No.,Total amount\n1,1,5\n")
    shop.load()
    assert shop.rows("orders", "paid") == [(False,)]
    shop.write("customers.csv", "id,name\n1,Eve\n")
    shop.load()
    assert shop.rows("customers", "email name") == [("ada@x.org", "Eve")]


def test_too_many_bad_rows_merge_nothing_and_stay_to_be_looked_at(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA + "x,,Bad,,,,,\n" + "3,,Cem,,,,9,\n")
    with pytest.raises(OperationFailed, match=r"2 of 3 rows \(67 %\) are bad, more than the 1 rows allowed"):
        shop.load(max_bad_rows=1)
    with pytest.raises(OperationFailed, match=r"more than the 50 % allowed"):
        shop.load(max_bad_pct=50)
    assert shop.rows("customers") == []
    assert [entry["reason"] for entry in shop.quarantine()] == [
        "not a whole number",
        "no row of customers has this id",
    ]
    assert shop.load(max_bad_rows=2, max_bad_pct=67).inserted == 1
    assert len(shop.quarantine()) == 2, "entered once, however often it was tried"


def test_rows_whose_references_came_meanwhile_are_merged_when_merging_again(shop: Shop) -> None:
    shop.csv("Orders.csv", [(7, 1, 5, "t", ""), (8, 1, 5, "t", "")], ORDERS.strip().split(","))
    shop.stage("orders")
    with pytest.raises(OperationFailed):
        shop.merge("orders", max_bad_rows=0)
    assert len(shop.quarantine()) == 2
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("INSERT INTO customers (id, name) VALUES (7, 'Cem')")
    merged = shop.merge("orders")
    assert (merged.inserted, merged.quarantined) == (1, 1)
    assert [entry["line"] for entry in shop.quarantine()] == [3]


def test_without_validation_only_types_are_checked_and_postgres_has_the_last_word(shop: Shop) -> None:
    shop.write("customers.csv", "id,name\n1," + "x" * 30 + "\n")
    with pytest.raises(OperationFailed, match="refused a row by its constraint customers_name_check"):
        shop.load(validate=False)
    assert shop.rows("customers") == []
    assert shop.load().quarantined == 1


def test_progress_tells_rows_and_bytes(shop: Shop) -> None:
    told: list[tuple[str, int, int]] = []

    class Recorder:
        def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
            told.append((f"start {task}", 0, 0))

        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            told.append((task, n, bytes))

        def finish(self, task: str) -> None:
            told.append((f"finish {task}", 0, 0))

    path = shop.write("customers.csv", CUSTOMERS + ADA + BOB)
    execute_load(shop.fleet, shop.plan(), progress=Recorder())
    assert told == [
        ("start customers customers.csv", 0, 0),
        ("customers customers.csv", 2, path.stat().st_size),
        ("finish customers customers.csv", 0, 0),
    ]


def test_a_load_is_in_the_tenants_audit_log_without_its_data(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    load_id = shop.load().datasets[0].merge.load_id
    with shop.fleet.control.transaction() as connection:
        event = history(connection, str(shop.tenant.id))[0]
    assert event.action == "data.load"
    assert event.detail == {
        "dataset": "customers",
        "load": load_id,
        "inserted": 1,
        "updated": 0,
        "quarantined": 0,
    }


def test_batches_of_any_size_give_the_same_table(shop: Shop) -> None:
    shop.csv("customers.csv", [("id", "name"), *((number, f"name {number}") for number in range(1, 251))])
    for batch_rows in (1, 7, 1_000):
        with shop.fleet.session(shop.tenant) as connection:
            connection.execute("DELETE FROM customers")
        assert shop.load(batch_rows=batch_rows, force=True).inserted == 250
        assert shop.rows("customers", "id name")[-1] == (250, "name 250")


def test_the_shipped_fixtures_are_those_of_the_newest_version_that_is_not_newer(shop: Shop) -> None:
    shipped = fixtures_root() / "1.0.0" / "starter"
    for version in ("1.0.0", "1.2.0", "10.0.0"):
        assert shipped_fixtures(replace(shop.tenant, version=version), "1.0.0") == shipped
    assert not shipped_fixtures(replace(shop.tenant, version="0.9.0"), "1.0.0").exists()


def test_a_folder_beside_the_versions_is_none_of_them(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = shop.tenant.tier_name
    for name in ("1.0.0", "inbox", "0"):
        (tmp_path / name / tier).mkdir(parents=True)
    monkeypatch.setattr("tenant_ops.loading.operation.fixtures_root", lambda: tmp_path)
    assert shipped_fixtures(shop.tenant, "1.0.0") == tmp_path / "1.0.0" / tier
    assert shipped_fixtures(replace(shop.tenant, version="0.9.0"), "1.0.0") == tmp_path / "0" / tier


def test_a_table_that_is_not_migrated_yet_is_refused_in_a_sentence(shop: Shop) -> None:
    shop.write("customers.csv", CUSTOMERS + ADA)
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("ALTER TABLE customers DROP COLUMN profile")
    with pytest.raises(OperationFailed, match=r"not as the dataset is defined: column .*profile"):
        shop.load()


def test_a_source_that_is_not_there_is_named(shop: Shop) -> None:
    with pytest.raises(InputError, match=r"/no/such: there is no such folder or file"):
        shop.plan(source=Path("/no/such"))
    with pytest.raises(InputError, match="there are no data files"):
        shop.plan()
