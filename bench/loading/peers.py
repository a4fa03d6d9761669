r"""The same file into the same table by others: `psql`, dlt, pandas.

Nobody here checks rules, keeps bad rows, or knows where to go on after a kill. What a user of each has to do
to fill typed columns and keep the keys is done here, in the way that is fastest by its own documentation.
"""

import csv
import io
import os
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from tenant_ops.platform.embedded import programs

# The modules each needs: those are there before the clock starts.
DLT = ("dlt.destinations.impl.postgres.postgres", "psycopg")
DLT_ARROW = (*DLT, "adbc_driver_postgresql", "pyarrow.csv", "pyarrow.parquet")
PANDAS = ("pandas", "sqlalchemy.dialects.postgresql", "psycopg")

_TYPES = {
    "event_id": "uuid",
    "user_id": "uuid",
    "track_id": "uuid",
    "session_id": "uuid",
    "played_ms": "integer",
    "completed": "boolean",
    "source": "text",
    "played_at": "timestamptz",
}


def psql_copy(url: str, table: str, file: Path) -> None:
    r"""Run `\copy`."""
    command = f"\\copy {table} FROM '{file}' WITH (FORMAT csv, HEADER)"
    subprocess.run([programs() / "psql", url, "-qX", "-v", "ON_ERROR_STOP=1", "-c", command], check=True)


def dlt_arrow(url: str, table: str, file: Path, scratch: Path) -> None:
    """Use the fast path of dlt: Arrow batches to Parquet, by ADBC into a table of dlt's; then one INSERT.

    It knows no uuid, so it cannot fill the table itself.
    """
    from pyarrow import csv as arrow_csv

    def batches() -> Iterator[Any]:
        options = arrow_csv.ConvertOptions(strings_can_be_null=True)
        yield from arrow_csv.open_csv(file, convert_options=options)

    _run_dlt(url, table, batches, scratch, loader_file_format="parquet")


def dlt_rows(url: str, table: str, file: Path, scratch: Path) -> None:
    """Use dlt as its introduction does: rows as dicts, by its default loader; then one INSERT."""

    def rows() -> Iterator[Any]:
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                yield {name: value or None for name, value in row.items()}

    _run_dlt(url, table, rows, scratch)


def to_sql(url: str, table: str, file: Path, _scratch: Path, method: Any = "multi") -> None:
    """Use `to_sql` of pandas with 5,000 rows a statement; its own default, a row a statement, is slower."""
    import pandas
    import sqlalchemy
    from sqlalchemy.dialects import postgresql as types

    schema, _, name = table.partition(".")
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1))
    for frame in pandas.read_csv(file, chunksize=100_000, parse_dates=["played_at"]):
        frame.to_sql(
            name,
            engine,
            schema=schema,
            if_exists="append",
            index=False,
            method=method,
            chunksize=5_000,
            dtype={name: types.UUID(as_uuid=False) for name, kind in _TYPES.items() if kind == "uuid"},
        )
    engine.dispose()


def to_sql_copy(url: str, table: str, file: Path, scratch: Path) -> None:
    """Use `to_sql` of pandas with the COPY function that its documentation gives for Postgres."""
    to_sql(url, table, file, scratch, method=_insert_by_copy)


def missing(*modules: str) -> list[str]:
    """The packages of these that are not installed."""
    return sorted({name for module in modules if not find_spec(name := module.partition(".")[0])})


def _insert_by_copy(table: Any, connection: Any, keys: list[str], rows: Iterator[Any]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    names = ", ".join(f'"{key}"' for key in keys)
    statement = f"COPY {table.schema}.{table.name} ({names}) FROM STDIN WITH CSV"
    with connection.connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(text.getvalue())


def _run_dlt(url: str, table: str, rows: Any, scratch: Path, **options: Any) -> None:
    os.environ |= {
        "DLT_DATA_DIR": str(scratch / "data"),
        "DLT_PROJECT_DIR": str(scratch),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }
    dlt: Any = import_module("dlt")
    # It asks for a host and a password even where the server wants neither.
    address = url.replace("postgres@/", "postgres:unused@localhost/", 1)
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.postgres(credentials=address),
        dataset_name="bench_dlt",
        pipelines_dir=str(scratch / "pipelines"),
    )
    pipeline.run(rows(), table_name="events", write_disposition="append", **options)
    with psycopg.connect(url, autocommit=True) as connection:
        # As the loads it is compared with, it can be run again: rows that are there are replaced.
        values = ", ".join(f"{column}::{kind}" for column, kind in _TYPES.items())
        replaced = ", ".join(f"{column} = excluded.{column}" for column in _TYPES if column != "event_id")
        connection.execute(
            f"INSERT INTO {table} ({', '.join(_TYPES)}) SELECT {values} FROM bench_dlt.events "
            f"ON CONFLICT (event_id) DO UPDATE SET {replaced}".encode()
        )
        connection.execute("DROP SCHEMA bench_dlt CASCADE")
