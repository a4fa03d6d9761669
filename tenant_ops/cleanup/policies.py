"""How old things may become: from datasets, tiers and what was asked for to rules with cutoffs.

Here: the days and where they come from. Not here: counting or removing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tenant_ops.cleanup.records import DEFAULT_TYPES, TYPES, Rule, Type
from tenant_ops.datasets import Catalog, Dataset
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Tenant

QUARANTINE_DAYS = 30
STAGE_DAYS = 1  # an interrupted load is resumed within minutes, or not at all
FILE_DAYS = 7
TRASH_DAYS = 7

TEMPORARY_FOLDER = "tmp"


def rules_for(
    tenant: Tenant,
    catalog: Catalog,
    now: datetime,
    *,
    types: Sequence[str] | None = None,
    retention_days: int | None = None,
) -> tuple[Rule, ...]:
    """The rules of a cleanup made at `now`.

    Rows are kept for the shorter of their dataset's and the tier's days. `retention_days` replaces the days
    of rows, quarantined rows and temporary files, even by more; datasets without a retention column keep all.

    Raises:
        InputError: a type is unknown, or the days are less than 1.
    """
    chosen = tuple(types) if types else DEFAULT_TYPES
    unknown = sorted(set(chosen) - set(TYPES))
    if unknown:
        raise InputError(
            f"there is no cleanup type {unknown[0]!r}.",
            where="cleanup types",
            fix=f"Choose from: {', '.join(TYPES)}.",
        )
    if retention_days is not None and not 1 <= retention_days <= 36_500:
        raise InputError(f"{retention_days} is not a number of days from 1 to 36500.", where="retention days")

    def rule(kind: Type, subject: str, column: str, days: int, because: str) -> Rule:
        if retention_days is not None and kind in ("expired", "quarantine", "files"):
            days, because = retention_days, "asked for"
        return Rule(kind, subject, column, days, now - timedelta(days=days), because)

    candidates = [
        *(
            rule("expired", dataset.name, dataset.retention.column, *limit)
            for dataset in catalog
            if dataset.retention and (limit := _shortest(dataset, tenant, retention_days))
        ),
        rule("quarantine", "quarantine", "created_at", QUARANTINE_DAYS, "default"),
        rule("stages", "stage tables", "", STAGE_DAYS, "default"),
        rule("files", TEMPORARY_FOLDER, "", FILE_DAYS, "default"),
        Rule("trash", "trash", "expires_at", None, now, f"kept {TRASH_DAYS} days for undo"),
        Rule("cache", f"{tenant.key}:*", "", None, now, "asked for"),
    ]
    return tuple(rule for rule in candidates if rule.type in chosen)


def _shortest(dataset: Dataset, tenant: Tenant, asked: int | None) -> tuple[int, str] | None:
    """The days rows of the dataset are kept, and who says so; None when nobody does."""
    assert dataset.retention is not None
    limits = [(dataset.retention.days, "dataset"), (tenant.tier.retention_days, f"tier {tenant.tier_name}")]
    known = [(days, because) for days, because in limits if days is not None]
    return min(known, default=(asked, "asked for") if asked else None)
