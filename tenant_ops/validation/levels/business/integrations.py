"""Integrations and the API: who connected them, whether they can still sign in, who calls."""

from tenant_ops.validation.rules import Joined, Rule, Where, rule


@rule(
    level="business",
    severity="warning",
    dataset="integrations",
    needs=("users",),
    remediation="Name the account that connected it, or none; or correct created_at.",
)
def connected_by_a_member() -> Joined:
    """Who connected an outside service had taken up the account by then."""
    return Joined("users.status = 'invited' OR integrations.created_at < users.created_at", ("users",))


@rule(
    level="business",
    severity="error",
    dataset="integrations",
    remediation="Sign in to the service again, or switch the integration off.",
)
def credential_is_live() -> Where:
    """An enabled integration's credential has not expired.

    Its settings hold no secrets; where they say until when the secret holds, it is `credential_expires_at`,
    a day or moment in ISO spelling.
    """
    # As text: a cast would stop the whole scan at the first value that is no date.
    return Where(r"""
        status = 'enabled' AND settings->>'credential_expires_at' ~ '^\d{4}-\d\d-\d\d'
        AND left(settings->>'credential_expires_at', 10) COLLATE "C"
            < to_char(%(now)s::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD') COLLATE "C"
    """)


@rule(
    level="business",
    severity="warning",
    dataset="api_requests",
    needs=("users",),
    remediation="Find out who calls in that account's name; set it active if its owner accepted.",
)
def caller_is_a_member() -> Joined:
    """Who calls the API as a user had taken up the account by then."""
    return Joined("users.status = 'invited' OR api_requests.requested_at < users.created_at", ("users",))


INTEGRATION_RULES: tuple[Rule, ...] = (connected_by_a_member, credential_is_live, caller_is_a_member)
