"""A tenant with rows of known age, at a fixed moment."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cleanup.making import fill

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def fleet(emptied_fleet: Fleet) -> Fleet:
    """A fleet without tenants at a fixed moment."""
    return replace(emptied_fleet, clock=lambda: NOW)


@pytest.fixture
def aged(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> Tenant:
    """A professional tenant (rows kept 365 days at most) with rows 10, 100, 400 and 800 days old."""
    tenant = new_tenant("acme", "professional")
    fill(fleet, tenant, NOW)
    return tenant
