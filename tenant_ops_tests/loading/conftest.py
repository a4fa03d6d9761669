"""A shop to load into."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.shop import SHOP, Shop


@pytest.fixture
def shop(settings: Settings, tmp_path: Path) -> Iterator[Shop]:
    """The tenant `acme` with empty tables, and an empty folder."""
    fleet = Fleet.open(settings, catalog=SHOP)
    provision(fleet, "acme")
    folder = tmp_path / "to load"
    folder.mkdir()
    yield Shop(fleet, fleet.registry.get("acme"), folder)
    fleet.close()
