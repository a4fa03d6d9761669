"""Limits: what the tenant uses is what its tier allows."""

from collections.abc import Iterator

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Rule, Sighting, Where, rule


@rule(
    level="business",
    severity="warning",
    dataset="users",
    remediation="Offer the tenant a larger tier, or have accounts removed.",
)
def users_within_tier(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant has no more users than its tier allows."""
    row = evidence.connection.execute("SELECT count(*) FROM users").fetchone()
    assert row is not None
    allowed = evidence.tenant.tier.max_users
    if row[0] > allowed:
        yield Sighting(
            "users", f"It has {row[0]:,} users, its tier allows {allowed:,}.", "users", row[0] - allowed
        )


@rule(
    level="business",
    severity="warning",
    remediation="Offer the tenant a larger tier, or clean up.",
)
def storage_within_tier(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant's tables take no more room than its tier allows."""
    row = evidence.connection.execute("""
        SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) / 1048576
        FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = current_schema()::regnamespace
        AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'm')
    """).fetchone()
    assert row is not None
    allowed = evidence.tenant.tier.max_storage_mb
    if row[0] > allowed:
        yield Sighting("storage", f"Its tables take {row[0]:,.0f} MB, its tier allows {allowed:,} MB.")


@rule(
    level="business",
    severity="error",
    dataset="integrations",
    remediation="Remove the integration or change the tenant's tier.",
)
def integrations_within_tier() -> Where:
    """Every integration that is not switched off is of a kind the tenant's tier includes."""
    return Where("kind <> ALL (%(integrations)s) AND status <> 'disabled'")


LIMIT_RULES: tuple[Rule, ...] = (users_within_tier, storage_within_tier, integrations_within_tier)
