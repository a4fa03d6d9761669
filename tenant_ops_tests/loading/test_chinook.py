"""Chinook, a public sample database nobody here made: every cell of it, from JSON and from SQLite.

Skipped where its files are not beside the checkout (`../shared/data/chinook`).
"""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tenant_ops.datasets import Catalog, Column, Dataset, ForeignKey
from tenant_ops.datasets.definition import ColumnType
from tenant_ops.loading import execute_load, plan_load
from tenant_ops.platform.settings import PACKAGE_ROOT, Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.shop import Shop
from tenant_ops_tests.loading.test_numbers import assert_numbers_add_up

DATA = PACKAGE_ROOT.parent / "shared" / "data" / "chinook"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")

KINDS: dict[str, ColumnType] = {"": "text", "i": "integer", "n": "numeric", "t": "timestamptz"}


def table(source: str, columns: str, references: str = "", key: int = 1) -> Dataset:
    """A dataset from a short text: `Name:type?` are its columns, `Column>dataset` its references."""

    def snake(name: str) -> str:
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")

    made: list[Column] = []
    for text in columns.split():
        name, _, rest = text.partition(":")
        kind = KINDS[rest.rstrip("?")]
        made.append(Column(snake(name), kind, nullable=rest.endswith("?"), source=name))
    keys = [reference.split(">") for reference in references.split()]
    return Dataset(
        name=f"{snake(source)}s",
        description=source,
        columns=tuple(made),
        key=tuple(column.name for column in made[:key]),
        foreign_keys=tuple(
            ForeignKey((snake(name),), target, (f"{target[:-1]}_id",), on_delete="restrict")
            for name, target in keys
        ),
        source=source,
    )


CHINOOK = Catalog(
    "chinook",
    "1.0.0",
    (
        table("Album", "AlbumId:i Title ArtistId:i", "ArtistId>artists"),
        table("Artist", "ArtistId:i Name:?"),
        table(
            "Customer",
            "CustomerId:i FirstName LastName Company:? Address:? City:? State:? Country:? PostalCode:? "
            "Phone:? Fax:? Email SupportRepId:i?",
            "SupportRepId>employees",
        ),
        table(
            "Employee",
            "EmployeeId:i LastName FirstName Title:? ReportsTo:i? BirthDate:t? HireDate:t? Address:? City:? "
            "State:? Country:? PostalCode:? Phone:? Fax:? Email:?",
            "ReportsTo>employees",
        ),
        table("Genre", "GenreId:i Name:?"),
        table(
            "Invoice",
            "InvoiceId:i CustomerId:i InvoiceDate:t BillingAddress:? BillingCity:? BillingState:? "
            "BillingCountry:? BillingPostalCode:? Total:n",
            "CustomerId>customers",
        ),
        table(
            "InvoiceLine",
            "InvoiceLineId:i InvoiceId:i TrackId:i UnitPrice:n Quantity:i",
            "InvoiceId>invoices TrackId>tracks",
        ),
        table("MediaType", "MediaTypeId:i Name:?"),
        table("Playlist", "PlaylistId:i Name:?"),
        table("PlaylistTrack", "PlaylistId:i TrackId:i", "PlaylistId>playlists TrackId>tracks", key=2),
        table(
            "Track",
            "TrackId:i Name AlbumId:i? MediaTypeId:i GenreId:i? Composer:? Milliseconds:i Bytes:i? "
            "UnitPrice:n",
            "AlbumId>albums MediaTypeId>media_types GenreId>genres",
        ),
    ),
)


@pytest.fixture
def chinook(settings: Settings) -> Iterator[Shop]:
    fleet = Fleet.open(settings, catalog=CHINOOK)
    provision(fleet, "chinook")
    yield Shop(fleet, fleet.registry.get("chinook"), DATA)
    fleet.close()


def from_json(dataset: Dataset) -> list[tuple[Any, ...]]:
    text = (DATA / "ChinookData.json").read_text(encoding="utf-8-sig")
    rows = json.loads(text, parse_float=Decimal)[dataset.source_name]
    return [tuple(row[column.source_name] for column in dataset.columns) for row in rows]


def from_sqlite(dataset: Dataset) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{column.source_name}"' for column in dataset.columns)
    with sqlite3.connect(f"file:{DATA}/Chinook_Sqlite.sqlite?mode=ro", uri=True) as connection:
        rows = connection.execute(f'SELECT {names} FROM "{dataset.source_name}"').fetchall()
    connection.close()
    return rows


def as_stored(dataset: Dataset, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A source row with the Python types Postgres answers with; the values are those of the source."""

    def convert(value: Any, kind: str) -> Any:
        if value is None:
            return None
        if kind == "timestamptz":
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return Decimal(str(value)) if kind == "numeric" else value

    return tuple(convert(value, column.type) for value, column in zip(row, dataset.columns, strict=True))


@pytest.mark.parametrize(
    ("file", "read"),
    [("ChinookData.json", from_json), ("Chinook_Sqlite.sqlite", from_sqlite)],
    ids=["json", "sqlite"],
)
def test_every_cell_arrives(chinook: Shop, file: str, read: Any) -> None:
    plan = plan_load(chinook.fleet, chinook.tenant, source=DATA / file)
    assert [len(part.files) for part in plan.datasets] == [1] * 11
    report = execute_load(chinook.fleet, plan)
    assert_numbers_add_up(report)
    assert (report.inserted, report.quarantined) == (15607, 0)
    cells = 0
    for dataset in CHINOOK:
        expected = sorted(as_stored(dataset, row) for row in read(dataset))
        assert chinook.rows(dataset.name) == expected
        cells += sum(map(len, expected))
    assert cells == 66439


def test_the_second_source_differs_only_where_the_sources_differ(chinook: Shop) -> None:
    execute_load(chinook.fleet, plan_load(chinook.fleet, chinook.tenant, source=DATA / "ChinookData.json"))
    second = plan_load(chinook.fleet, chinook.tenant, source=DATA / "Chinook_Sqlite.sqlite")
    report = execute_load(chinook.fleet, second)
    different = sum(
        as_stored(dataset, ours) != as_stored(dataset, theirs)
        for dataset in CHINOOK
        for ours, theirs in zip(
            sorted(from_json(dataset), key=key_of(dataset)),
            sorted(from_sqlite(dataset), key=key_of(dataset)),
            strict=True,
        )
    )
    assert (report.inserted, report.updated, report.unchanged) == (0, different, 15607 - different)


def key_of(dataset: Dataset) -> Any:
    return lambda row: row[: len(dataset.key)]
