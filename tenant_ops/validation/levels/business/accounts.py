"""Accounts and sign-ins: who may administer, who has taken up the account, and when.

An account whose own times are the wrong way round is found by the data level; it is not judged again here.
"""

from tenant_ops.validation.rules import Joined, Rows, Rule, Where, rule


@rule(
    level="business",
    severity="error",
    dataset="users",
    remediation="Make one account an active administrator.",
)
def one_active_admin() -> Rows:
    """A tenant with users has at least one active administrator."""
    return Rows("""
        SELECT WHERE EXISTS (SELECT FROM users)
        AND NOT EXISTS (SELECT FROM users WHERE role = 'admin' AND status = 'active')
    """)


@rule(
    level="business",
    severity="warning",
    dataset="users",
    remediation="Set the account active, or clear last_seen_at.",
)
def invited_was_never_seen() -> Where:
    """Who is still invited was never seen."""
    return Where("status = 'invited' AND last_seen_at IS NOT NULL")


@rule(
    level="business",
    severity="warning",
    dataset="sessions",
    needs=("users",),
    remediation="Correct the account's created_at or the session's started_at.",
)
def session_after_account() -> Joined:
    """Nobody signs in before the account was opened."""
    return Joined("sessions.started_at < users.created_at", ("users",))


@rule(
    level="business",
    severity="error",
    dataset="sessions",
    needs=("users",),
    remediation="Set the account active if its owner accepted; otherwise find out who signed in.",
)
def invited_has_not_signed_in() -> Joined:
    """Who is still invited has not signed in."""
    return Joined("users.status = 'invited'", ("users",))


@rule(
    level="business",
    severity="warning",
    dataset="sessions",
    needs=("users",),
    remediation="Bring the account's last_seen_at up to its last sign-in, or correct the sign-in.",
)
def seen_when_signed_in() -> Joined:
    """An account was last seen no earlier than in its last sign-in."""
    return Joined(
        "coalesce(sessions.ended_at, sessions.started_at) > users.last_seen_at "
        "AND users.last_seen_at >= users.created_at",
        ("users",),
    )


ACCOUNT_RULES: tuple[Rule, ...] = (
    one_active_admin,
    invited_was_never_seen,
    session_after_account,
    invited_has_not_signed_in,
    seen_when_signed_in,
)
