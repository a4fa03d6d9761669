"""Personal data and secrets where no definition says they are: in columns and in the tenant's configuration.

Here: the sample of each table and what the detectors say of it. Not here: the detectors (`detectors/`).

Of every table at most 200 rows are read: all pages of a table of up to 20, otherwise about 20 drawn evenly,
the same ones each time. A finding names column, kind and how many of the sample matched, never a value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.datasets import Dataset, OneOf
from tenant_ops.platform.errors import NotAvailable
from tenant_ops.tenants import Tenant
from tenant_ops.validation.detectors import PERSONAL, SECRETS, Kind, Verdict, judge, secrets_in_document
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import OWN, read
from tenant_ops.validation.rules import Rule, Sighting, rule

ROWS = 200
PAGES = 20
_CHARACTERS = 4_000


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
    """What samples of the columns that could hold such data seem to hold, read as the tenant's owner."""
    tables: dict[str, list[tuple[str, bool]]] = {}
    pages: dict[str, int] = {}
    unreadable: set[str] = set()
    for table, column, documents, size, readable in evidence.told(_columns):
        if not readable:
            unreadable.add(table)
            continue
        if table not in evidence.catalog or not _closed(evidence.catalog[table], column):
            tables.setdefault(table, []).append((column, documents))
            pages[table] = size
    found: list[Surveyed] = []
    for table, columns in tables.items():
        privacy = _privacy(evidence, table)
        query = _sample(evidence.tenant.schema_name, table, [column for column, _ in columns], pages[table])
        rows = evidence.connection.execute(query).fetchall()
        for place, (column, documents) in enumerate(columns):
            declared = privacy.get(column)
            detectors = SECRETS if declared else (*PERSONAL, *SECRETS)
            verdicts = judge((row[place] for row in rows), detectors, documents=documents)
            if verdicts:
                found.append(Surveyed(table, column, declared, verdicts))
    return Survey(tuple(found), tuple(sorted(unreadable)))


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


def _sample(schema: str, table: str, columns: list[str], pages: int) -> sql.Composed:
    texts = [
        sql.SQL("left({}::text, {})").format(sql.Identifier(column), sql.Literal(_CHARACTERS))
        for column in columns
    ]
    part = sql.SQL("")
    if pages > PAGES:
        part = sql.SQL("TABLESAMPLE SYSTEM ({}) REPEATABLE (7)").format(sql.Literal(100 * PAGES / pages))
    order = sql.SQL("ORDER BY hashtid(ctid)") if pages > 1 else sql.SQL("")
    return sql.SQL("SELECT {} FROM {} {} {} LIMIT {}").format(
        sql.SQL(", ").join(texts), sql.Identifier(schema, table), part, order, sql.Literal(ROWS)
    )


def _columns(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    owners = [tenant.role("owner") for tenant in tenants]
    return read(connection, _COLUMNS, tenants, owners=owners)


# Times, truths and keys hold no such data; numbers do, when they are long.
_COLUMNS = OWN + sql.SQL("""
SELECT t.place, c.relname::text, a.attname::text, a.atttypid IN ('json'::regtype, 'jsonb'::regtype),
       (pg_relation_size(c.oid) / current_setting('block_size')::bigint)::int,
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
