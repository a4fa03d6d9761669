"""A small catalog with everything loading must cope with, and files to load into it."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from tenant_ops.datasets import Between, Catalog, Column, Dataset, ForeignKey, Length, OneOf, Order
from tenant_ops.loading import (
    LoadPlan,
    LoadReport,
    MergeReport,
    StageReport,
    execute_load,
    merge,
    plan_load,
    stage,
)
from tenant_ops.tenants import Fleet, Tenant

CUSTOMERS = Dataset(
    name="customers",
    description="Who buys.",
    columns=(
        Column("id", "integer"),
        Column("email", "text", nullable=True, unique=True, privacy="email", rules=(Length(3, 40),)),
        Column("name", "text", privacy="name", rules=(Length(1, 20),)),
        Column("tier", "text", nullable=True, rules=(OneOf(("gold", "silver")),)),
        Column("joined", "date", nullable=True),
        Column("left", "date", nullable=True),
        Column("referred_by", "integer", nullable=True),
        Column("profile", "jsonb", nullable=True),
    ),
    key=("id",),
    foreign_keys=(ForeignKey(("referred_by",), "customers", ("id",), on_delete="set null"),),
    orders=(Order("joined", "left"),),
)
ORDERS = Dataset(
    name="orders",
    description="What they buy.",
    columns=(
        Column("customer_id", "integer", source="Customer"),
        Column("number", "bigint", source="No."),
        Column("total", "numeric", source="Total amount", rules=(Between(0, 1000),)),
        Column("paid", "boolean", default="false"),
        Column("placed_at", "timestamptz", nullable=True),
    ),
    key=("customer_id", "number"),
    foreign_keys=(ForeignKey(("customer_id",), "customers", ("id",)),),
    source="Orders",
)
SHOP = Catalog("shop", "1.0.0", (ORDERS, CUSTOMERS))


@dataclass(frozen=True)
class Shop:
    """A tenant with the shop's tables, and a folder to load from."""

    fleet: Fleet
    tenant: Tenant
    folder: Path

    def csv(self, name: str, rows: Sequence[Sequence[Any]], header: Sequence[str] | None = None) -> Path:
        """Write a CSV file; the first row is the header unless one is given."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([header, *rows] if header else rows)
        return path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file as it is."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def ndjson(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write an NDJSON file."""
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def plan(self, **options: Any) -> LoadPlan:
        """Plan a load of the folder."""
        options.setdefault("source", self.folder)
        return plan_load(self.fleet, self.tenant, **options)

    def load(self, **options: Any) -> LoadReport:
        """Load the folder."""
        return execute_load(self.fleet, self.plan(**options))

    def stage(self, dataset: str, **options: Any) -> StageReport:
        """Only the first step."""
        return stage(self.fleet, self.tenant, self.plan(**options), dataset)

    def merge(self, dataset: str, **options: Any) -> MergeReport:
        """Only the second step."""
        return merge(self.fleet, self.tenant, self.plan(**options), dataset)

    def rows(self, dataset: str, columns: str | None = None) -> list[tuple[Any, ...]]:
        """The live rows by key."""
        definition = self.fleet.catalog[dataset]
        chosen = columns.split() if columns else definition.column_names
        with self.fleet.session(self.tenant) as connection:
            return connection.execute(
                sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
                    sql.SQL(", ").join(map(sql.Identifier, chosen)),
                    sql.Identifier(dataset),
                    sql.SQL(", ").join(map(sql.Identifier, definition.key)),
                )
            ).fetchall()

    def quarantine(self) -> list[dict[str, Any]]:
        """What is in quarantine, in the order it came."""
        with self.fleet.session(self.tenant) as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                sql.SQL("SELECT * FROM {} ORDER BY id").format(
                    sql.Identifier(self.tenant.stage_schema, "quarantine")
                )
            ).fetchall()

    def faults(self) -> list[tuple[Any, ...]]:
        """What is in quarantine, in short: file, line, column, value, reason."""
        names = ("file", "line", "column_name", "value", "reason")
        return [tuple(entry[name] for name in names) for entry in self.quarantine()]

    def stages(self) -> list[str]:
        """The stage tables there are."""
        with self.fleet.session(self.tenant) as connection:
            found = connection.execute(
                "SELECT tablename::text FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'stage%%'",
                (self.tenant.stage_schema,),
            )
            return [row[0] for row in found]
