"""The same questions to the same table, by this project and by others, as functions a process can run.

Asked of `listening_events`: seven required columns, a range, a closed set, times that are finite and not in
the future, a key that is unique, no row twice but for its key, three references that lead somewhere, and five
conditions beside the row's track, session and user. That is 16 row rules, 2 kinds of duplicates and 3 foreign
keys. This project compares the table with its definition besides (schema level).
Each returns how many questions it asked, and how many rows or questions it found bad.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import psycopg

from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet

EVENTS = "listening_events"
FIVE = Catalog(
    "music",
    MUSIC.version,
    tuple(MUSIC[name] for name in ("users", "artists", "tracks", "sessions", EVENTS)),
)
PANDERA = ("pandas", "pandera.pandas", "pyarrow.csv", "psycopg")
GX = ("great_expectations", "great_expectations.expectations", "sqlalchemy.dialects.postgresql", "psycopg2")
REQUIRED = ("event_id", "user_id", "track_id", "played_ms", "completed", "source", "played_at")
SOURCES = ("library", "playlist", "search", "agent", "radio")
PARENTS = {"users": "user_id", "tracks": "track_id", "sessions": "session_id"}
REST = ("user_id", "track_id", "session_id", "played_ms", "completed", "source", "played_at")
BESIDE = (
    "e.played_ms > t.duration_ms",
    "(e.completed AND e.played_ms < t.duration_ms) OR (NOT e.completed AND e.played_ms = t.duration_ms)",
    "(e.played_at AT TIME ZONE 'UTC')::date < t.released_on",
    "e.user_id <> s.user_id OR e.played_at < s.started_at OR e.played_at > s.ended_at",
    "e.session_id IS NULL AND u.last_seen_at >= u.created_at "
    "AND (e.played_at < u.created_at OR e.played_at > u.last_seen_at)",
)
JOINS = (
    "LEFT JOIN {schema}.users u ON u.user_id = e.user_id "
    "LEFT JOIN {schema}.tracks t ON t.track_id = e.track_id "
    "LEFT JOIN {schema}.sessions s ON s.session_id = e.session_id"
)


def ours(settings: Settings, slug: str, *, trust_constraints: bool) -> dict[str, int]:
    """Schema, data and business rules about the table."""
    from dataclasses import replace

    from tenant_ops.validation import execute_validation, plan_validation

    fleet = Fleet.open(settings, catalog=FIVE)
    plan = plan_validation(
        fleet,
        fleet.registry.get(slug),
        types=["schema", "data", "business"],
        trust_constraints=trust_constraints,
        statement_timeout_s=600,
    )
    plan = replace(
        plan, rules=tuple(rule for rule in plan.rules if rule.level == "schema" or rule.dataset == EVENTS)
    )
    report = execute_validation(fleet, plan)
    fleet.close()
    assert not report.unchecked, report.unchecked
    return {"rules": len(plan.rules), "bad": sum(one.count for one in report.findings)}


def by_hand(url: str, schema: str) -> dict[str, int]:
    """What somebody who knows Postgres writes: one scan with its joins, and two hash aggregates."""
    conditions = [
        *(f"e.{name} IS NULL" for name in REQUIRED),
        "NOT e.played_ms BETWEEN 0 AND 14400000",
        f"e.source NOT IN {SOURCES}",
        "NOT isfinite(e.played_at)",
        "e.played_at > now() + interval '5 minutes'",
        *BESIDE,
        "u.user_id IS NULL",
        "t.track_id IS NULL",
        "e.session_id IS NOT NULL AND s.session_id IS NULL",
    ]
    filters = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in conditions)
    events = f"{schema}.{EVENTS}"
    queries = [
        f"SELECT {filters} FROM {events} e {JOINS.format(schema=schema)}",
        f"SELECT count(*) FROM (SELECT FROM {events} GROUP BY event_id HAVING count(*) > 1) twice",
        f"SELECT count(*) FROM (SELECT FROM {events} GROUP BY {', '.join(REST)} HAVING count(*) > 1) twice",
    ]
    counts: list[int] = []
    with psycopg.connect(url) as connection:
        for query in queries:
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            counts += row
    return {"rules": len(counts), "bad": sum(counts)}


def by_pandera(url: str, schema: str) -> dict[str, int]:
    """A frame read by COPY and Arrow, which is the fast way, then one pandera schema.

    pandera looks at one frame: the columns of parents are merged into it first.
    """
    import pandas as pd
    import pandera.pandas as pa

    events = _frame(url, f"SELECT * FROM {schema}.{EVENTS}")
    users = _frame(url, f"SELECT user_id, created_at AS opened_at, last_seen_at FROM {schema}.users")
    released = "released_on::timestamp AT TIME ZONE 'UTC' AS released_on"
    tracks = _frame(url, f"SELECT track_id, duration_ms, {released} FROM {schema}.tracks")
    sessions = _frame(url, f"SELECT session_id, user_id AS who, started_at, ended_at FROM {schema}.sessions")
    frame = (
        events.merge(users, "left", "user_id")
        .merge(tracks, "left", "track_id")
        .merge(sessions, "left", "session_id")
    )
    soon = pd.Timestamp(datetime.now(UTC) + timedelta(minutes=5))
    known = {"user_id": users.user_id, "track_id": tracks.track_id, "session_id": sessions.session_id}

    def column(name: str, *checks: Any, **options: Any) -> pa.Column:
        if name in known:
            checks = (*checks, pa.Check.isin(known[name]))
        return pa.Column(None, list(checks), nullable=name not in REQUIRED, **options)

    conditions = [
        lambda f: ~(f.played_ms > f.duration_ms),
        lambda f: (
            ~((f.completed & (f.played_ms < f.duration_ms)) | (~f.completed & (f.played_ms == f.duration_ms)))
        ),
        lambda f: ~(f.played_at < f.released_on),
        lambda f: ~((f.user_id != f.who) | (f.played_at < f.started_at) | (f.played_at > f.ended_at)),
        lambda f: (
            ~(
                f.session_id.isna()
                & (f.last_seen_at >= f.opened_at)
                & ((f.played_at < f.opened_at) | (f.played_at > f.last_seen_at))
            )
        ),
        lambda f: ~f.duplicated(list(REST), keep=False),
    ]
    checks = [pa.Check(lambda f, held=held: held(f).fillna(True)) for held in conditions]
    contract = pa.DataFrameSchema(
        {
            "event_id": column("event_id", unique=True),
            "user_id": column("user_id"),
            "track_id": column("track_id"),
            "session_id": column("session_id"),
            "played_ms": column("played_ms", pa.Check.in_range(0, 14_400_000)),
            "completed": column("completed"),
            "source": column("source", pa.Check.isin(SOURCES)),
            "played_at": column("played_at", pa.Check.le(soon)),
        },
        checks=checks,
    )
    try:
        contract.validate(frame, lazy=True)
        bad = 0
    except pa.errors.SchemaErrors as errors:
        bad = len(errors.failure_cases)
    return {"rules": len(REQUIRED) + len(checks) + 3 + 4, "bad": bad}


def by_great_expectations(url: str, schema: str) -> dict[str, int]:
    """A suite on the table itself: its own expectations where it has them, queries where it has none."""
    import great_expectations as gx  # pyright: ignore[reportMissingImports]
    from great_expectations import expectations  # pyright: ignore[reportMissingImports]

    gxe: Any = expectations  # it exports none of them by the type checker's rules

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # pyright: ignore[reportAttributeAccessIssue]
    source = context.data_sources.add_postgres("pg", connection_string=_sqlalchemy_url(url))
    asset = source.add_table_asset(EVENTS, table_name=EVENTS, schema_name=schema)
    batch = asset.add_batch_definition_whole_table("all")
    suite = gx.ExpectationSuite(EVENTS)
    for name in REQUIRED:
        suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=name))
    suite.add_expectation(
        gxe.ExpectColumnValuesToBeBetween(column="played_ms", min_value=0, max_value=14_400_000)
    )
    suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column="source", value_set=list(SOURCES)))
    # Infinity is not between two times: one expectation for finite and not in the future.
    first, last = datetime(1, 1, 2, tzinfo=UTC), datetime.now(UTC) + timedelta(minutes=5)
    suite.add_expectation(
        gxe.ExpectColumnValuesToBeBetween(column="played_at", min_value=first, max_value=last)
    )
    suite.add_expectation(gxe.ExpectColumnValuesToBeUnique(column="event_id"))
    suite.add_expectation(gxe.ExpectCompoundColumnsToBeUnique(column_list=list(REST)))
    joins = JOINS.format(schema=schema)
    for name, key in PARENTS.items():
        query = f"SELECT e.event_id FROM {{batch}} e LEFT JOIN {schema}.{name} p ON p.{key} = e.{key} "
        query += f"WHERE e.{key} IS NOT NULL AND p.{key} IS NULL"
        suite.add_expectation(gxe.UnexpectedRowsExpectation(unexpected_rows_query=query))
    for condition in BESIDE:
        query = f"SELECT e.event_id FROM {{batch}} e {joins} WHERE {condition}"
        suite.add_expectation(gxe.UnexpectedRowsExpectation(unexpected_rows_query=query))
    context.suites.add(suite)
    result = batch.get_batch().validate(suite)
    statistics: Any = result.statistics
    return {"rules": statistics["evaluated_expectations"], "bad": statistics["unsuccessful_expectations"]}


def _frame(url: str, query: str) -> Any:
    import io

    import pandas as pd
    from pyarrow import csv

    text = io.BytesIO()
    with psycopg.connect(url) as connection:
        connection.execute("SET datestyle = 'ISO'; SET timezone = 'UTC'")
        with connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)".encode()) as copy:
            for block in copy:
                text.write(block)
    text.seek(0)
    options = csv.ConvertOptions(
        strings_can_be_null=True,
        true_values=["t"],
        false_values=["f"],
        timestamp_parsers=[csv.ISO8601, "%Y-%m-%d %H:%M:%S.%f+00"],
    )
    return csv.read_csv(text, convert_options=options).to_pandas(types_mapper=pd.ArrowDtype)


def _sqlalchemy_url(url: str) -> str:
    parts = urlsplit(url)
    host = parse_qs(parts.query)["host"][0]
    # Great Expectations wants a host in its place; the one behind it is what counts.
    name = parts.path.lstrip("/")
    return f"postgresql+psycopg2://{parts.username}@localhost/{name}?host={quote(host, safe='')}"
