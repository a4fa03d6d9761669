"""A quarantined row is repaired where it lies."""

import pytest

from tenant_ops.audit import history
from tenant_ops.loading import list_quarantine, repair_row, show_row
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.quarantine.conftest import ids
from tenant_ops_tests.loading.shop import Shop


def test_a_repaired_row_says_so_and_is_loaded_with_its_new_values(bad: Shop) -> None:
    row_id = ids(bad)[0]
    report = repair_row(bad.fleet, bad.tenant, row_id, {"id": "2"})
    assert (report.line, report.columns, report.left) == (3, ("id",), ("tier: not one of gold, silver",))
    assert repair_row(bad.fleet, bad.tenant, row_id, {"tier": None}).left == ()
    assert {fault.reason for fault in show_row(bad.fleet, bad.tenant, row_id).faults} == {
        "repaired, not replayed yet"
    }
    assert bad.load(source=None, replay=True).inserted == 1
    assert bad.rows("customers", "id email name tier")[1] == (2, "bob@example.org", "Bob", None)


def test_the_audit_log_tells_replaced_values_apart_without_telling_them(bad: Shop) -> None:
    first, second = ids(bad)[:2]
    repair_row(bad.fleet, bad.tenant, first, {"email": "bo@example.org"})
    repair_row(bad.fleet, bad.tenant, first, {"email": "bob@example.org"})
    repair_row(bad.fleet, bad.tenant, first, {"email": "b@example.org"})
    repair_row(bad.fleet, bad.tenant, second, {"tier": "gold"})
    with bad.fleet.control.transaction() as connection:
        events = history(connection, str(bad.tenant.id), limit=4)[::-1]
    assert [event.action for event in events] == ["quarantine.repair"] * 4
    hashes = [event.detail["replaced"] for event in events]
    assert hashes[0] == hashes[2] != hashes[1]
    assert hashes[3] == {"tier": None}
    assert "@" not in repr([event.detail for event in events])


def test_a_line_that_is_no_row_becomes_one_with_the_columns_of_its_file(bad: Shop) -> None:
    repair_row(bad.fleet, bad.tenant, ids(bad)[2], {"id": "5", "name": "a, b"})
    assert show_row(bad.fleet, bad.tenant, ids(bad)[2]).values == {
        "id": "5",
        "email": None,
        "name": "a***",
        "tier": None,
        "left": None,
    } | {"name": "a*** b***"}
    assert bad.load(source=None, replay=True).inserted == 1


def test_a_column_is_meant_by_either_of_its_names(shop: Shop) -> None:
    shop.csv("Orders.csv", [("x", 1, 5)], ("Customer", "No.", "Total amount"))
    shop.load()
    assert repair_row(shop.fleet, shop.tenant, ids(shop)[0], {"customer_id": "7"}).columns == ("Customer",)
    assert shop.quarantine()[0]["raw"] == {"Customer": "7", "No.": "1", "Total amount": "5"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "no value is given"),
        ({"emial": "x"}, "customers has no column 'emial'.*Known columns: id, email"),
        ({"name": "a\0b"}, "no text can hold a NUL character"),
    ],
)
def test_what_cannot_be_a_value_is_refused(bad: Shop, values: dict[str, str], problem: str) -> None:
    before = bad.quarantine()
    with pytest.raises(InputError, match=problem):
        repair_row(bad.fleet, bad.tenant, ids(bad)[0], values)
    assert bad.quarantine() == before


def test_rows_of_a_load_that_is_not_merged_are_left_to_it(shop: Shop) -> None:
    shop.csv("customers.csv", [("x", "a")], ("id", "name"))
    shop.stage("customers")
    with pytest.raises(InputError, match="the load that left it out is not merged yet"):
        repair_row(shop.fleet, shop.tenant, ids(shop)[0], {"id": "1"})


def test_a_row_of_another_tenant_cannot_be_repaired(bad: Shop, neighbour: Shop) -> None:
    only_here = max(set(ids(bad)) - set(ids(neighbour)))
    before = bad.quarantine(), neighbour.quarantine()
    with pytest.raises(InputError, match="no row"):
        repair_row(bad.fleet, neighbour.tenant, only_here, {"id": "7"})
    assert (bad.quarantine(), neighbour.quarantine()) == before
    assert list_quarantine(bad.fleet, bad.tenant).rows == 4
