"""Connections of tenants, and a fleet whose clock tests move."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tenant_ops.tenants import Fleet, Tenant, login_password


class Time:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 7, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **span: float) -> None:
        """Let time pass."""
        self.now += timedelta(**span)


@pytest.fixture
def time() -> Time:
    """The fleet's clock."""
    return Time()


@pytest.fixture
def fleet(emptied_fleet: Fleet, time: Time) -> Fleet:
    """A fleet without tenants on that clock."""
    return replace(emptied_fleet, clock=time)


@pytest.fixture
def connect(fleet: Fleet) -> Iterator[Callable[[Tenant], psycopg.Connection]]:
    """Connects as a tenant's own login."""
    with ExitStack() as stack:

        def make(tenant: Tenant) -> psycopg.Connection:
            connection = psycopg.connect(
                fleet.control.url, user=tenant.role("app"), password=login_password(fleet, tenant)
            )
            stack.callback(connection.close)
            return connection

        yield make
