"""Personal data and secrets where no definition says they are: in columns and in the tenant's configuration.

Here: the sample of each table and what the detectors say of it. Not here: the detectors (`detectors/`).

Of every table at most 200 rows are read: all pages of a table of up to 20, otherwise about 20 drawn evenly,
the same ones each time. A finding names column, kind and how many of the sample matched, never a value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.datasets import Dataset, OneOf
from tenant_ops.platform.errors import NotAvailable
from tenant_ops.tenants import Tenant
from tenant_ops.validation.detectors import (
    PERSONAL,
    SECRETS,
    Kind,
    Verdict,
    judge,
    secrets_in_document,
    wilson_lower,
)
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import OWN, read
from tenant_ops.validation.rules import Rule, Sighting, rule

ROWS = 200
PAGES = 20
_CHARACTERS = 4_000
_ALL = (*PERSONAL, *SECRETS)
_VERSION = "1"
"""Goes up when detectors change, so that every table is sampled again."""


class _Table(NamedTuple):
    name: str
    pages: int
    state: str | None


@dataclass(frozen=True)
class Surveyed:
    """A column with what a sample of it seems to hold."""

    table: str
    column: str
    privacy: str | None
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Survey:
    """What the tenant's tables seem to hold, and which could not be read."""

    columns: tuple[Surveyed, ...]
    unreadable: tuple[str, ...]


@rule(
    level="security",
    severity="warning",
    remediation="Give the column its privacy class in the dataset definition, or keep such data out of it.",
)
def undeclared_personal_data(evidence: Evidence) -> Iterator[Sighting]:
    """Columns that hold personal data are declared to, so that it is masked and cleaned up."""
    yield from _sightings(evidence, "personal")


@rule(
    level="security",
    severity="error",
    remediation="Rotate the secret at its issuer, then take it out of the rows.",
)
def secrets_in_values(evidence: Evidence) -> Iterator[Sighting]:
    """No text or document holds keys, tokens or passwords."""
    yield from _sightings(evidence, "secret")


@rule(
    level="security",
    severity="error",
    remediation="Keep it as a credential, and its name in the configuration; rotate it at its issuer.",
)
def secrets_in_config(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant's configuration in the control plane holds no keys, tokens or passwords."""
    for place, what in secrets_in_document(evidence.tenant.config):
        yield Sighting(f"config {place}", f"The configuration has at {place} what looks like {what}.")


def survey(evidence: Evidence) -> Survey:
    """What samples of the columns that could hold such data seem to hold, read as the tenant's owner.

    A table whose rows and columns are as they were when it was sampled last is not read again.
    """
    tables: dict[_Table, list[tuple[str, bool]]] = {}
    unreadable: set[str] = set()
    for name, column, documents, pages, state, readable in evidence.told(_columns):
        if not readable:
            unreadable.add(name)
        elif name not in evidence.catalog or not _closed(evidence.catalog[name], column):
            tables.setdefault(_Table(name, pages, state), []).append((column, documents))
    found: list[Surveyed] = []
    for table, columns in tables.items():
        privacy = _privacy(evidence, table.name)
        state = table.state and f"{table.state} {[(name, privacy.get(name)) for name, _ in columns]}"
        known = evidence.background.surveys.get(table.name)
        if known and known["state"] == state:
            held = known["held"]
        else:
            held = _held(evidence, table, columns, privacy)
            if state:
                evidence.background.surveyed[table.name] = {"state": state, "held": held}
        found += [
            Surveyed(table.name, column, privacy.get(column), tuple(_verdict(*one) for one in verdicts))
            for column, verdicts in held
        ]
    return Survey(tuple(found), tuple(sorted(unreadable)))


def _held(
    evidence: Evidence, table: _Table, columns: list[tuple[str, bool]], privacy: Mapping[str, str | None]
) -> list[Any]:
    """What each column seems to hold, by detector, as the control plane keeps it."""
    query = _sample(evidence.tenant.schema_name, table, [column for column, _ in columns])
    rows = evidence.connection.execute(query).fetchall()
    held: list[Any] = []
    for place, (column, documents) in enumerate(columns):
        detectors = SECRETS if privacy.get(column) else _ALL
        verdicts = judge((row[place] for row in rows), detectors, documents=documents)
        if verdicts:
            held.append([column, [[one.detector.name, one.matching, one.sampled] for one in verdicts]])
    return held


def _verdict(name: str, matching: int, sampled: int) -> Verdict:
    detector = next(one for one in _ALL if one.name == name)
    return Verdict(detector, matching, sampled, wilson_lower(matching, sampled))


def _closed(dataset: Dataset, column: str) -> bool:
    """Whether the column's values are one of a closed set, which a check of its table sees to."""
    return any(isinstance(rule, OneOf) for one in dataset.columns if one.name == column for rule in one.rules)


def _privacy(evidence: Evidence, table: str) -> Mapping[str, str | None]:
    if table not in evidence.catalog:
        return {}
    return {column.name: column.privacy for column in evidence.catalog[table].columns}


def _sightings(evidence: Evidence, kind: Kind) -> list[Sighting]:
    surveyed = evidence.known(survey)
    found = [
        _sighting(evidence, column, verdict)
        for column in surveyed.columns
        for verdict in column.verdicts
        if verdict.detector.kind == kind and not (kind == "secret" and column.privacy == "secret")
    ]
    if surveyed.unreadable and not found:
        raise NotAvailable(f"the tenant's owner cannot read {', '.join(surveyed.unreadable)}.")
    return found


def _sighting(evidence: Evidence, column: Surveyed, verdict: Verdict) -> Sighting:
    return Sighting(
        f"{column.table}.{column.column}: {verdict.detector.name}",
        f"{column.table}.{column.column} seems to hold {verdict.detector.label}: "
        f"{verdict.matching:,} of {verdict.sampled:,} sampled values, "
        f"at least {verdict.at_least:.0%} of all.",
        column.table if column.table in evidence.catalog else None,
        verdict.matching,
    )


def _sample(schema: str, table: _Table, columns: list[str]) -> sql.Composed:
    texts = [
        sql.SQL("left({}::text, {})").format(sql.Identifier(column), sql.Literal(_CHARACTERS))
        for column in columns
    ]
    part = sql.SQL("")
    if table.pages > PAGES:
        part = sql.SQL("TABLESAMPLE SYSTEM ({}) REPEATABLE (7)").format(
            sql.Literal(100 * PAGES / table.pages)
        )
    order = sql.SQL("ORDER BY hashtid(ctid)") if table.pages > 1 else sql.SQL("")
    return sql.SQL("SELECT {} FROM {} {} {} LIMIT {}").format(
        sql.SQL(", ").join(texts), sql.Identifier(schema, table.name), part, order, sql.Literal(ROWS)
    )


def _columns(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    owners = [tenant.role("owner") for tenant in tenants]
    return read(connection, _COLUMNS, tenants, owners=owners, version=_VERSION)


# Whether rows have changed is told by the server's own counters, which sessions add to within a second; what
# this transaction has changed is not in them yet. They begin anew with the server.
# Times, truths and keys hold no such data; numbers do, when they are long.
_COLUMNS = OWN + sql.SQL("""
SELECT t.place, c.relname::text, a.attname::text, a.atttypid IN ('json'::regtype, 'jsonb'::regtype),
       (pg_relation_size(c.oid) / current_setting('block_size')::bigint)::int,
       CASE WHEN pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid) = 0
            THEN concat_ws(' ', %(version)s::text, pg_postmaster_start_time(), c.oid, c.relfilenode,
                           pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid),
                           pg_stat_get_tuples_deleted(c.oid), pg_relation_size(c.oid)) END,
       has_table_privilege((%(owners)s::text[])[t.place + 1], c.oid, 'SELECT')
FROM things t JOIN pg_class c ON c.oid = t.objid AND c.relkind IN ('r', 'm')
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type y ON y.oid = a.atttypid
WHERE t.live AND t.classid = 'pg_class'::regclass
AND (y.typcategory = 'S' OR y.typname IN ('json', 'jsonb', 'xml', 'int8', 'numeric', 'inet')
     OR (y.typcategory = 'A' AND y.typelem IN (SELECT oid FROM pg_type WHERE typcategory = 'S')))
ORDER BY 1, 2, a.attnum
""")

VALUE_RULES: tuple[Rule, ...] = (undeclared_personal_data, secrets_in_values, secrets_in_config)
