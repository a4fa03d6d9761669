"""Entries of the quarantine: file, line, column, masked value and reason of what is wrong with a row.

Here: writing them and summing them up. Not here: why a row is bad (`checking.py`, `violations.py`), and what
operators do with it (the other modules of this folder).

One entry for each thing wrong with a row; the first of them carries the whole row, so entries with `raw`
count rows. The schema it is in is open to the tenant's owner role only.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.datasets.lineage import privacy_of
from tenant_ops.loading.reports import CHECKS, CheckOutcome
from tenant_ops.loading.sources.encodings import show_bytes
from tenant_ops.platform.masking import mask
from tenant_ops.tenants import Tenant

LONGEST_VALUE = 200
SAMPLE = 10
_IN_MEMORY = 8 << 20


@dataclass(frozen=True)
class BadRow:
    """A row that is left out.

    Attributes:
        line: Where it stands in its file.
        faults: Columns (joined by commas, None for the whole row) and what is wrong with them.
        raw: The row as it was read.
    """

    line: int
    faults: tuple[tuple[str | None, str], ...]
    raw: dict[str, Any] | str


class Quarantine:
    """Bad rows waiting for their turn: a connection that is copying good rows cannot write them.

    They wait in memory, and on disk when they are many.
    """

    def __init__(self, dataset: Dataset, check: str) -> None:
        self.rows = 0
        self._dataset = dataset
        self._check = check
        self._waiting = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed at exit

    def __enter__(self) -> "Quarantine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.close()

    def add(self, file: str, row: BadRow) -> None:
        """Keep a row for `write`."""
        self.rows += 1
        for number, (column, reason) in enumerate(row.faults):
            value = None if column is None else self._masked(column, row.raw)
            entry = (file, row.line, column, value, reason, _storable(row.raw) if number == 0 else None)
            self._waiting.write(orjson.dumps(entry, default=str) + b"\n")

    def write(self, connection: psycopg.Connection, tenant: Tenant, load_id: UUID, now: datetime) -> None:
        """Put what was added into the quarantine, in the caller's transaction."""
        self._waiting.seek(0)
        statement = sql.SQL(
            "COPY {} (load_id, dataset, check_name, created_at, file, line, column_name, value, reason, raw) "
            "FROM STDIN"
        ).format(sql.Identifier(tenant.stage_schema, "quarantine"))
        with connection.cursor().copy(statement) as copy:
            for line in self._waiting:
                *place, raw = orjson.loads(line)
                document = None if raw is None else orjson.dumps(raw).decode()
                copy.write_row((load_id, self._dataset.name, self._check, now, *place, document))

    def _masked(self, columns: str, raw: dict[str, Any] | str) -> str | None:
        if isinstance(raw, str):
            return None
        shown: list[str] = []
        for name in columns.split(", "):
            column = self._dataset.by_name.get(name)
            value = raw.get(column.source_name if column else name)
            text = "" if value is None else str(value)[:LONGEST_VALUE]
            privacy = privacy_of(self._dataset, name)
            shown.append(mask(text, privacy) or "" if text and privacy else text)
        return _storable(", ".join(shown))


@dataclass(frozen=True)
class Findings:
    """What the quarantine holds of one load: rows by check and reason, and a few entries of each check."""

    rows: dict[str, dict[str, int]]
    samples: dict[str, tuple[dict[str, str | int | None], ...]]

    @classmethod
    def none(cls) -> "Findings":
        """Nothing is in quarantine."""
        return cls({}, {})

    def reasons(self, *checks: str) -> dict[str, int]:
        """Rows by reason, most first, over the named checks (all when none is named)."""
        summed: dict[str, int] = {}
        for check in checks or self.rows:
            for reason, count in self.rows.get(check, {}).items():
                summed[reason] = summed.get(reason, 0) + count
        return dict(sorted(summed.items(), key=lambda item: (-item[1], item[0])))

    def count(self, *checks: str) -> int:
        """Rows over the named checks (all when none is named)."""
        return sum(self.reasons(*checks).values())

    def outcome(self, check: str) -> CheckOutcome:
        """One of the checks, as these findings decide it; `complete` is about all of them."""
        of = tuple(self.rows) if check == "complete" else (check,)
        rows = self.count(*of) if of else 0
        sample = tuple(entry for each in of for entry in self.samples.get(each, ()))[:SAMPLE]
        return CheckOutcome(check, CHECKS[check], rows == 0, rows, sample)


def findings(connection: psycopg.Connection, tenant: Tenant, load_id: UUID) -> Findings:
    """Sum up what a load left in quarantine."""
    table = sql.Identifier(tenant.stage_schema, "quarantine")
    rows: dict[str, dict[str, int]] = {}
    counted = connection.execute(
        sql.SQL(
            "SELECT check_name, reason, count(*) FROM {} WHERE load_id = %s AND raw IS NOT NULL "
            "GROUP BY check_name, reason"
        ).format(table),
        (load_id,),
    )
    for check, reason, count in counted:
        rows.setdefault(check, {})[reason] = count
    return Findings(rows, {check: _sample(connection, table, load_id, check) for check in rows})


def discard(connection: psycopg.Connection, tenant: Tenant, load_id: UUID, checks: Sequence[str]) -> None:
    """Take back what these checks of a load put into the quarantine."""
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE load_id = %s AND check_name = ANY(%s)").format(
            sql.Identifier(tenant.stage_schema, "quarantine")
        ),
        (load_id, list(checks)),
    )


def entries_of(tenant: Tenant) -> sql.Composed:
    """Every entry, without the row itself, as something to select from.

    Besides what the table has: `row_id`, the first entry of the row it is about, by which operators name the
    row; `whole`, whether it is that entry; `open`, whether its load is not merged yet, so that loading
    decides about the row anew. Entries of one row follow one another in the order of their ids: they were
    written by one COPY.
    """
    return sql.SQL(
        """(
        SELECT q.id, q.load_id, q.dataset, q.file, q.line, q.column_name, q.value, q.check_name, q.reason,
               q.created_at, q.raw IS NOT NULL AS whole,
               max(q.id) FILTER (WHERE q.raw IS NOT NULL)
                   OVER (PARTITION BY q.load_id, q.dataset, q.file, q.check_name ORDER BY q.id) AS row_id,
               EXISTS (SELECT FROM {} l WHERE l.id = q.load_id AND l.state <> 'merged') AS open
        FROM {} q)"""
    ).format(sql.Identifier(tenant.stage_schema, "load"), sql.Identifier(tenant.stage_schema, "quarantine"))


def _storable(value: Any) -> Any:
    """The value with a mark for each NUL, which Postgres cannot hold, as sources mark what is no text."""
    match value:
        case str():
            return value.replace("\x00", show_bytes(b"\x00"))
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case _:
            return value


def _sample(
    connection: psycopg.Connection, table: sql.Identifier, load_id: UUID, check: str
) -> tuple[dict[str, str | int | None], ...]:
    found = connection.execute(
        sql.SQL(
            "SELECT file, line, column_name, value, reason FROM {} WHERE load_id = %s AND check_name = %s "
            "ORDER BY id LIMIT %s"
        ).format(table),
        (load_id, check, SAMPLE),
    )
    return tuple(dict(zip(("file", "line", "column", "value", "reason"), row, strict=True)) for row in found)
