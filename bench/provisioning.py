"""Provisioning against a plain psycopg loop that runs the same DDL, tenant by tenant in turn.

Both sides make tenants in a database of their own on the embedded server, one transaction each: roles,
schemas, rights, tables, the login's password. tenant_ops also keeps the registry, the tenant's key, the
sealed password, the audit log, the files folder, and the lock that keeps others out.
Run: python -m bench.provisioning [--quick] [--tenants N]
"""

import argparse
import os
import platform
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

import psycopg
from psycopg import sql

from tenant_ops.datasets import MUSIC
from tenant_ops.platform.control_plane.upgrade import ensure_control_plane
from tenant_ops.platform.database import Database
from tenant_ops.platform.embedded import postgres
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, State, Tenant, provision
from tenant_ops.tenants.model import new_key
from tenant_ops.tenants.provisioning import object_script

WINDOW = 20
"""Tenants each figure is the median of: the last ones before the fleet has its size."""
AIM = 1.5


def main(sizes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="bench provisioning ") as scratch:
        home = Path(scratch) / "home"
        url = postgres(home)
        describe(url, sizes)
        fleet = Fleet.open(Settings.load({"TENANT_OPS_HOME": str(home)}))
        with psycopg.connect(plain_database(url)) as connection:
            pairs = [
                (
                    timed(provision, fleet, f"tenant_{number:05d}"),
                    timed(provision_plainly, connection, stand_in(number)),
                )
                for number in range(max(sizes))
            ]
        fleet.close()
    print("    tenants   tenant_ops        plain    ratio")
    for size in sizes:
        ours, theirs = zip(*pairs[max(0, size - WINDOW) : size], strict=True)
        print(f"{size:11,} {ms(median(ours))} {ms(median(theirs))} {median(ours) / median(theirs):8.2f}")
    ours, theirs = (sum(times) for times in zip(*pairs, strict=True))
    print(f"    overall {ms(ours / len(pairs))} {ms(theirs / len(pairs))} {ours / theirs:8.2f}  (aim {AIM})")


def provision_plainly(connection: psycopg.Connection, tenant: Tenant) -> None:
    """What a script without tenant_ops would do: one round trip of DDL, one for the password, commit."""
    role = tenant.role("app")
    connection.execute(object_script(tenant, MUSIC, superuser=True))
    password = secrets.token_urlsafe(24)
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(role), sql.Literal(verifier.decode())
        )
    )
    connection.commit()


def plain_database(url: str) -> str:
    """A second database on the server; the group all logins join is made with its control plane."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE plain")
    plain = url.replace("/tenant_ops?", "/plain?")
    database = Database(plain)
    ensure_control_plane(database)
    database.close()
    return plain


def stand_in(number: int) -> Tenant:
    """A tenant no registry knows, to name the objects of the plain side."""
    moment = datetime.now(UTC)
    return Tenant(
        id=uuid4(),
        key=new_key(),
        slug=f"plain_{number:05d}",
        display_name="",
        tier_name="starter",
        state=State.REQUESTED,
        placement="default",
        version=None,
        admin_email=None,
        config={},
        created_at=moment,
        updated_at=moment,
    )


def timed(work: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def ms(seconds: float) -> str:
    return f"{seconds * 1000:9.1f} ms"


def describe(url: str, sizes: Sequence[int]) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row
    print(
        f"{max(sizes):,} tenants of {len(MUSIC)} datasets on each side, in turn; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, psycopg {psycopg.__version__}, "
        f"Postgres {row[0]}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="30 tenants, to see that it works")
    parser.add_argument("--tenants", type=int, default=1_000, help="the largest fleet (default 1000)")
    chosen = parser.parse_args()
    main((10, 30) if chosen.quick else sorted({10, min(300, chosen.tenants), chosen.tenants}))
