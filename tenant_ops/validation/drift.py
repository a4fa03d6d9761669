"""Drift: which tenants' tables are not what the definitions say, of the whole fleet in one query a server.

Here: tenants grouped by the fingerprint of their structure, and what is different in each group. Not here:
the fingerprint (`datasets/structure.py`), the rules of one tenant (`levels/schema.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tenant_ops.datasets.structure import (
    Kind,
    expected_structure,
    fingerprint,
    fingerprints,
    live_structure,
)
from tenant_ops.tenants import Fleet, Tenant


@dataclass(frozen=True)
class Difference:
    """A part of a table that only one side has, or has so."""

    table: str
    kind: Kind
    name: str
    detail: str


@dataclass(frozen=True)
class DriftGroup:
    """Tenants of one structure that is not the defined one.

    Attributes:
        fingerprint: Of their structure; empty: their schema has no tables.
        tenants: Who they are.
        versions: The versions they are at.
        missing: Parts of the definitions they lack, or have otherwise; those of the first tenant.
        surplus: Parts they have that are in no definition, or not so.
    """

    fingerprint: str
    tenants: tuple[str, ...]
    versions: tuple[str, ...]
    missing: tuple[Difference, ...]
    surplus: tuple[Difference, ...]


@dataclass(frozen=True)
class DriftReport:
    """The fleet against the definitions.

    Attributes:
        version: The version of the definitions.
        tenants: How many were compared.
        as_defined: How many are as defined.
        groups: The others, the biggest group first.
    """

    version: str
    tenants: int
    as_defined: int
    groups: tuple[DriftGroup, ...]


def find_drift(fleet: Fleet, tenants: Sequence[Tenant] | None = None) -> DriftReport:
    """Compare the tables of these tenants, all active ones when None, with the fleet's definitions.

    One query for each server, and one more for each structure that is not the defined one.
    """
    chosen = fleet.registry.all() if tenants is None else tenants
    placed: dict[str, list[Tenant]] = {}
    for tenant in chosen:
        placed.setdefault(tenant.placement, []).append(tenant)
    groups = [group for there in placed.values() for group in _on_one_server(fleet, there)]
    return DriftReport(
        version=fleet.catalog.version,
        tenants=len(chosen),
        as_defined=len(chosen) - sum(len(group.tenants) for group in groups),
        groups=tuple(sorted(groups, key=lambda group: (-len(group.tenants), group.tenants))),
    )


def _on_one_server(fleet: Fleet, tenants: Sequence[Tenant]) -> list[DriftGroup]:
    database = fleet.database(tenants[0])
    expected = expected_structure(database, fleet.catalog)
    defined = fingerprint(expected)
    with database.transaction() as connection:
        found = fingerprints(connection, [tenant.schema_name for tenant in tenants])
        alike: dict[str, list[Tenant]] = {}
        for tenant in tenants:
            alike.setdefault(found.get(tenant.schema_name, ""), []).append(tenant)
        alike.pop(defined, None)
        groups: list[DriftGroup] = []
        for structure, those in alike.items():
            schema = those[0].schema_name
            connection.execute("SELECT set_config('search_path', %s, true)", (schema,))
            live = live_structure(connection, schema)
            groups.append(
                DriftGroup(
                    fingerprint=structure,
                    tenants=tuple(tenant.slug for tenant in those),
                    versions=tuple(sorted({tenant.version or "none" for tenant in those})),
                    missing=tuple(Difference(*part) for part in sorted(expected - live)),
                    surplus=tuple(Difference(*part) for part in sorted(live - expected)),
                )
            )
    return groups
