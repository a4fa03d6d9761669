"""The quarantine is looked at without showing anybody's personal data."""

from typing import Any

import pytest

from tenant_ops.loading import list_quarantine, show_row
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.quarantine.conftest import ids
from tenant_ops_tests.loading.shop import Shop


def test_rows_are_counted_under_each_reason_and_listed_oldest_first(bad: Shop) -> None:
    found = list_quarantine(bad.fleet, bad.tenant)
    assert (found.tenant, found.rows) == ("acme", 4)
    assert {(each.check, each.reason): each.rows for each in found.counts} == {
        ("schema", "2 values where the header has 5"): 1,
        ("schema", "empty, but required"): 1,
        ("schema", "not a whole number"): 1,
        ("schema", "not one of gold, silver"): 1,
        ("keys", "the same id as an earlier row"): 1,
    }
    assert [(each.line, each.column) for each in found.entries] == [
        (3, "id"),
        (3, "tier"),
        (4, "name"),
        (6, None),
        (5, "id"),
    ]
    assert found.entries[0].id == found.entries[1].id == ids(bad)[0]


def test_rows_are_found_by_dataset_reason_and_file(bad: Shop) -> None:
    def count(**options: Any) -> int:
        return list_quarantine(bad.fleet, bad.tenant, **options).rows

    assert count(dataset="customers", file="customers.csv") == 4
    assert count(reason="not one of gold, silver") == 1
    assert count(dataset="orders") == count(file="other.csv") == count(reason="gold") == 0
    with pytest.raises(InputError, match="there is no dataset 'people'"):
        count(dataset="people")


def test_the_limit_is_on_what_is_shown_not_on_what_is_counted(bad: Shop) -> None:
    found = list_quarantine(bad.fleet, bad.tenant, limit=2)
    assert (found.rows, len(found.entries), len(found.counts)) == (4, 2, 5)


def test_rows_of_a_load_that_is_not_merged_are_marked_open(bad: Shop) -> None:
    bad.csv("customers.csv", [("y", "", "Yan", "", "")], ("id", "email", "name", "tier", "left"))
    bad.stage("customers")
    found = list_quarantine(bad.fleet, bad.tenant, reason="not a whole number")
    assert [(each.rows, each.open) for each in found.counts] == [(1, False), (1, True)]


def test_a_row_is_shown_whole_and_masked(bad: Shop) -> None:
    row = show_row(bad.fleet, bad.tenant, ids(bad)[0])
    assert (row.file, row.line, row.dataset, row.open) == ("customers.csv", 3, "customers", False)
    assert row.values == {
        "id": "two",
        "email": "b***@e***.org",
        "name": "B***",
        "tier": "lead",
        "left": None,
    }
    assert [(fault.column, fault.value) for fault in row.faults] == [("id", "two"), ("tier", "lead")]


def test_text_that_is_no_row_is_shown_by_its_length(bad: Shop) -> None:
    row = show_row(bad.fleet, bad.tenant, ids(bad)[2])
    assert (row.values, row.text) == (None, "*** (8 characters)")


def test_no_personal_data_is_in_a_list(bad: Shop) -> None:
    shown = repr(list_quarantine(bad.fleet, bad.tenant))
    assert not [secret for secret in ("bob@", "eve@", "Bob", "Eve") if secret in shown]


def test_a_row_of_another_tenant_is_not_there(bad: Shop, neighbour: Shop) -> None:
    only_here = max(set(ids(bad)) - set(ids(neighbour)))
    with pytest.raises(InputError, match=f"no row {only_here} in its quarantine"):
        show_row(bad.fleet, neighbour.tenant, only_here)
    assert list_quarantine(bad.fleet, neighbour.tenant).rows == 1
