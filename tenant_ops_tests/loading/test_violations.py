"""Rows only the database can tell to be bad: duplicates and references that lead nowhere."""

from tenant_ops_tests.loading.shop import Shop

CUSTOMER = ("id", "email", "name", "referred_by")
ORDER = ("Customer", "No.", "Total amount")


def test_of_rows_with_one_key_the_first_stays(shop: Shop) -> None:
    shop.csv("customers.1.csv", [CUSTOMER, (1, "", "first", ""), (2, "", "two", ""), (1, "", "second", "")])
    shop.csv("customers.2.csv", [CUSTOMER, (1, "", "third", "")])
    assert shop.load().inserted == 2
    assert shop.rows("customers", "id name") == [(1, "first"), (2, "two")]
    assert shop.faults() == [
        ("customers.1.csv", 4, "id", "1", "the same id as an earlier row"),
        ("customers.2.csv", 2, "id", "1", "the same id as an earlier row"),
    ]


def test_of_rows_with_one_unique_value_the_first_stays_and_empty_ones_are_no_duplicates(shop: Shop) -> None:
    shop.csv(
        "customers.csv",
        [CUSTOMER, (1, "", "a", ""), (2, "", "b", ""), (3, "x@y.zz", "c", ""), (4, "x@y.zz", "d", "")],
    )
    assert shop.load().inserted == 3
    assert shop.faults() == [
        ("customers.csv", 5, "email", "x***@y***.zz", "the same email as an earlier row")
    ]


def test_a_unique_value_of_another_live_row_is_not_taken_over(shop: Shop) -> None:
    shop.csv("customers.csv", [CUSTOMER, (1, "x@y.zz", "a", "")])
    shop.load()
    shop.csv("customers.csv", [CUSTOMER, (1, "", "no more", ""), (2, "x@y.zz", "b", "")])
    report = shop.load()
    assert (report.updated, report.quarantined) == (1, 1)
    assert shop.faults()[0][2:] == ("email", "x***@y***.zz", "another row has this email already")


def test_swapped_unique_values_are_refused_rather_than_bumped_into(shop: Shop) -> None:
    shop.csv("customers.csv", [CUSTOMER, (1, "a@y.zz", "a", ""), (2, "b@y.zz", "b", "")])
    shop.load()
    shop.csv("customers.csv", [CUSTOMER, (1, "b@y.zz", "a", ""), (2, "a@y.zz", "b", "")])
    assert shop.load().quarantined == 2
    assert shop.rows("customers", "email") == [("a@y.zz",), ("b@y.zz",)]


def test_a_reference_that_leads_nowhere_is_named(shop: Shop) -> None:
    shop.csv("customers.csv", [("id", "name"), (1, "a")])
    shop.csv("Orders.csv", [ORDER, (1, 1, 5), (9, 1, 5)])
    report = shop.load()
    assert report.quarantined == 1
    assert shop.faults() == [("Orders.csv", 3, "customer_id", "9", "no row of customers has this id")]
    (entry,) = shop.quarantine()
    assert entry["raw"] == {"Customer": "9", "No.": "1", "Total amount": "5"}
    checks = {check.name: check for check in report.datasets[1].merge.checks}
    assert (checks["references"].passed, checks["references"].failed_rows) == (False, 1)
    assert checks["keys"].passed
    assert not checks["complete"].passed
    assert checks["references"].sample[0]["line"] == 3


def test_a_row_may_refer_to_a_later_row_of_the_same_file(shop: Shop) -> None:
    shop.csv("customers.csv", [CUSTOMER, (1, "", "a", 3), (2, "", "b", 2), (3, "", "c", "")])
    assert shop.load().inserted == 3


def test_a_row_that_is_there_may_be_made_to_refer_to_a_new_one(shop: Shop) -> None:
    shop.csv("customers.csv", [CUSTOMER, (1, "", "a", "")])
    shop.load()
    shop.csv("customers.csv", [CUSTOMER, (1, "", "a", 2), (2, "", "b", 1)])
    report = shop.load()
    assert (report.inserted, report.updated) == (1, 1)
    assert shop.rows("customers", "id referred_by") == [(1, 2), (2, 1)]


def test_rows_that_refer_to_rows_left_out_are_left_out_too(shop: Shop) -> None:
    shop.csv(
        "customers.csv",
        [CUSTOMER, (1, "", "a", 2), (2, "", "b", 3), (3, "", "c", 99), (4, "", "d", ""), (5, "", "e", 4)],
    )
    report = shop.load()
    assert (report.inserted, report.quarantined) == (2, 3)
    assert shop.rows("customers", "id") == [(4,), (5,)]


def test_a_duplicate_of_a_row_left_out_is_no_duplicate(shop: Shop) -> None:
    shop.csv("customers.csv", [("id", "name"), (1, "a")])
    shop.load()
    shop.csv("Orders.csv", [ORDER, (9, 1, 5), (1, 2, 2000), (1, 2, 3)])
    assert shop.load(datasets=["orders"]).inserted == 1
    assert shop.rows("orders", "total") == [(3,)]
    assert [fault[4] for fault in shop.faults()] == [
        "not between 0 and 1000",
        "no row of customers has this id",
    ]


def test_duplicates_are_found_among_rows_on_one_line(shop: Shop) -> None:
    shop.write("customers.json", '[{"id": 1, "name": "first"}, {"id": 1, "name": "second"}]')
    shop.load()
    assert shop.rows("customers", "name") == [("first",)]
