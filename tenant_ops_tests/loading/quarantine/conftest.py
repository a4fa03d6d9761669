"""A shop some of whose rows were left out."""

import pytest

from tenant_ops.loading import execute_load, plan_load
from tenant_ops.tenants import provision
from tenant_ops_tests.loading.shop import Shop

HEADER = ("id", "email", "name", "tier", "left")


@pytest.fixture
def bad(shop: Shop) -> Shop:
    """Customers that cannot be stored, break rules or repeat others, and a line that is no row."""
    rows = [
        (1, "ada@example.org", "Ada", "gold", ""),
        ("two", "bob@example.org", "Bob", "lead", ""),
        (3, "eve@example.org", "", "", ""),
        (1, "", "again", "", ""),
    ]
    path = shop.csv("customers.csv", rows, HEADER)
    with path.open("a") as file:
        file.write('5,"a, b"\n')
    shop.load()
    path.unlink()
    return shop


@pytest.fixture
def neighbour(bad: Shop) -> Shop:
    """Another tenant of the same fleet, with a bad row of its own."""
    provision(bad.fleet, "globex")
    folder = bad.folder.parent / "of globex"
    folder.mkdir()
    other = Shop(bad.fleet, bad.fleet.registry.get("globex"), folder)
    other.csv("customers.csv", [("x", "zoe@example.org", "Zoe", "", "")], HEADER)
    execute_load(other.fleet, plan_load(other.fleet, other.tenant, source=folder))
    return other


def ids(shop: Shop) -> list[int]:
    """The rows in quarantine, in the order they came."""
    return [entry["id"] for entry in shop.quarantine() if entry["raw"] is not None]
