"""What can happen to a load on its way: connections are dropped, the disk is full."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tenant_ops.loading.ledger import Load, open_load
from tenant_ops.platform.server_account import account_for
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.shop import Shop

HEADER = ("id", "email", "name")


class Network:
    """A TCP proxy in front of a server, which may cut any connection at any byte.

    Attributes:
        cuts: Connections that were cut.
        on_request: Asked before bytes go to the server; True cuts the connection instead.
        on_reply: Asked before bytes come back; True cuts the connection instead.
    """

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._target = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        away = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
        self._conninfo = {**parts, **away}
        self.cuts = 0
        self.on_request: Callable[[Wire, bytes], bool] = lambda wire, data: False
        self.on_reply: Callable[[Wire, bytes], bool] = lambda wire, data: False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The server, through this network."""
        parts = {name: str(value) for name, value in self._conninfo.items()}
        query = f"sslmode={parts['sslmode']}&gssencmode={parts['gssencmode']}"
        return f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}?{query}"

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                wire = Wire(client, server)
                for ends in ((client, server, self._requests), (server, client, self._replies)):
                    threading.Thread(target=self._carry, args=(wire, *ends), daemon=True).start()

    def _requests(self, wire: "Wire", data: bytes) -> bool:
        return self.on_request(wire, data)

    def _replies(self, wire: "Wire", data: bytes) -> bool:
        return self.on_reply(wire, data)

    def _carry(
        self,
        wire: "Wire",
        source: socket.socket,
        target: socket.socket,
        cut: Callable[["Wire", bytes], bool],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if cut(wire, data):
                    self.cuts += 1
                    break
                target.sendall(data)
        wire.close()


class Wire:
    """One connection through the network; `marked` is for whoever decides about cuts."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.marked = False
        self._ends = (client, server)

    def close(self) -> None:
        """Cut it; the server notices at once."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def through_a_network(shop: Shop) -> Iterator[tuple[Shop, Network]]:
    """The same shop, whose fleet reaches its server through a network."""
    network = Network(shop.fleet.control.url)
    settings = replace(shop.fleet.settings, database_url=network.url)
    fleet = Fleet.open(settings, catalog=shop.fleet.catalog)
    try:
        yield replace(shop, fleet=fleet), network
    finally:
        network.on_request = network.on_reply = lambda wire, data: False
        fleet.close()
        network.close()


class SmallDisk:
    """A disk of a few megabytes that a database's new tables go to.

    Args:
        url: The database; it is dropped in the end, for it cannot be without its disk.
        megabytes: Room on it.
    """

    def __init__(self, url: str, megabytes: int) -> None:
        self._url = url
        self._database = str(conninfo_to_dict(url)["dbname"])
        self._folder = TemporaryDirectory(prefix="small disk ", dir="/tmp")
        self._name = f"small_{self._database}"
        account = account_for(Path(conninfo_to_dict(url)["host"]))
        Path(self._folder.name).chmod(0o711)
        options = f"size={megabytes}m,uid={account.uid},gid={account.gid},mode=700"
        mounted = self._run("mount", "-t", "tmpfs", "-o", options, "small", self._folder.name)
        if mounted.returncode != 0:
            self._folder.cleanup()
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
        with self._elsewhere() as connection:
            name, folder = sql.Identifier(self._name), sql.Literal(self._folder.name)
            connection.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(name, folder))
            connection.execute(sql.SQL("GRANT CREATE ON TABLESPACE {} TO PUBLIC").format(name))
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET default_tablespace = {}").format(
                    sql.Identifier(self._database), name
                )
            )

    def grow(self, megabytes: int) -> None:
        """Make room."""
        self._run("mount", "-o", f"remount,size={megabytes}m", self._folder.name).check_returncode()

    def remove(self) -> None:
        """Drop the database and the disk."""
        with self._elsewhere() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self._database))
            )
            connection.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(self._name)))
        self._run("umount", self._folder.name).check_returncode()
        self._folder.cleanup()

    def _elsewhere(self) -> psycopg.Connection:
        return psycopg.connect(make_conninfo(self._url, dbname="postgres"), autocommit=True)

    @staticmethod
    def _run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def on_a_small_disk(shop: Shop, megabytes: int) -> Iterator[SmallDisk]:
    """Tables the shop makes from now on go to a disk of so many megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = SmallDisk(shop.fleet.control.url, megabytes)
    shop.fleet.close()  # connections of before would not know of it
    try:
        yield disk
    finally:
        shop.fleet.close()
        disk.remove()


def outcome(shop: Shop, *datasets: str) -> tuple[Any, ...]:
    """All that a load leaves behind: rows, quarantine, and no stage."""
    return (
        tuple(tuple(map(str, shop.rows(name))) for name in datasets or shop.fleet.catalog.names),
        tuple(sorted(map(str, shop.faults()))),
        tuple(shop.stages()),
    )


def stock(shop: Shop) -> Shop:
    """Write three files of customers, some rows of them bad."""
    for part in range(3):
        first = part * 1000
        rows = [(first + number, f"c{first + number}@x.org", f"name {number}") for number in range(1, 1001)]
        shop.csv(f"customers.{part}.csv", [HEADER, *rows, ("bad", "", "x"), (first + 1, "", "again")])
    return shop


def calm(shop: Shop) -> Shop:
    """Another tenant, which has loaded the same files undisturbed."""
    provision(shop.fleet, "calm")
    other = replace(shop, tenant=shop.fleet.registry.get("calm"))
    other.load()
    return other


def ledger_of(shop: Shop) -> Load:
    """What the ledger has of the customers that are being staged."""
    with shop.fleet.session(shop.tenant) as connection:
        load = open_load(connection, shop.tenant, shop.fleet.catalog["customers"])
    assert load is not None
    return load
