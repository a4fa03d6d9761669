"""Business level: does the data of a music service make sense across datasets?

Here: rules over the shipped datasets; each is left out where the catalog lacks a dataset it reads.
Not here: what one definition says by itself (`data.py`).
"""

from collections.abc import Iterator

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Rows, Rule, Sighting, Where, rule


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


@rule(
    level="business",
    severity="error",
    dataset="ai_sessions",
    needs=("ai_messages",),
    remediation="Recompute total_tokens from the messages of the conversation.",
)
def ai_token_totals() -> Rows:
    """A conversation's tokens are the sum of its messages' tokens."""
    return Rows("""
        SELECT s.ai_session_id FROM ai_sessions s
        LEFT JOIN (SELECT ai_session_id, sum(tokens) AS tokens FROM ai_messages GROUP BY 1) m
        USING (ai_session_id)
        WHERE s.total_tokens IS DISTINCT FROM coalesce(m.tokens, 0)
    """)


@rule(
    level="business",
    severity="error",
    dataset="ai_messages",
    remediation="Load the missing messages of the conversation.",
)
def message_ordinals() -> Rows:
    """The messages of a conversation are numbered from 1 without gaps."""
    return Rows("""
        SELECT ai_session_id FROM ai_messages GROUP BY ai_session_id
        HAVING min(ordinal) <> 1 OR max(ordinal) <> count(*)
    """)


@rule(
    level="business",
    severity="warning",
    dataset="ai_messages",
    needs=("ai_sessions",),
    remediation="Correct sent_at of the message, or the times of its conversation.",
)
def message_within_conversation() -> Rows:
    """A message is sent while its conversation goes on."""
    return Rows("""
        SELECT m.ai_message_id FROM ai_messages m JOIN ai_sessions s USING (ai_session_id)
        WHERE m.sent_at < s.started_at OR m.sent_at > s.ended_at
    """)


@rule(
    level="business",
    severity="error",
    dataset="listening_events",
    needs=("tracks",),
    remediation="Cap played_ms at the track's duration, or correct the duration.",
)
def played_within_track() -> Rows:
    """Nobody hears more of a track than it is long."""
    return Rows("""
        SELECT e.event_id FROM listening_events e JOIN tracks t USING (track_id)
        WHERE e.played_ms > t.duration_ms
    """)


@rule(
    level="business",
    severity="error",
    dataset="listening_events",
    needs=("sessions",),
    remediation="Attach the event to a session of the same user, or to none.",
)
def listener_is_signed_in() -> Rows:
    """Who listens within a sign-in is the user who signed in, and does so while it lasts."""
    return Rows("""
        SELECT e.event_id FROM listening_events e JOIN sessions s USING (session_id)
        WHERE e.user_id <> s.user_id OR e.played_at < s.started_at OR e.played_at > s.ended_at
    """)


@rule(
    level="business",
    severity="error",
    dataset="playlist_tracks",
    remediation="Number the tracks of the playlist again from 1.",
)
def playlist_positions() -> Rows:
    """The tracks of a playlist stand at positions 1, 2, 3 without gaps."""
    return Rows("""
        SELECT playlist_id FROM playlist_tracks GROUP BY playlist_id
        HAVING min(position) <> 1 OR max(position) <> count(*)
    """)


@rule(
    level="business",
    severity="warning",
    dataset="sessions",
    needs=("users",),
    remediation="Correct the account's created_at or the session's started_at.",
)
def session_after_account() -> Rows:
    """Nobody signs in before the account was opened."""
    return Rows("""
        SELECT s.session_id FROM sessions s JOIN users u USING (user_id) WHERE s.started_at < u.created_at
    """)


@rule(
    level="business",
    severity="warning",
    dataset="content",
    remediation="Set published_at, or take the status back to draft.",
)
def published_content_has_a_date() -> Where:
    """What is published says since when."""
    return Where("status = 'published' AND published_at IS NULL")


BUSINESS_RULES: tuple[Rule, ...] = (
    one_active_admin,
    users_within_tier,
    storage_within_tier,
    integrations_within_tier,
    ai_token_totals,
    message_ordinals,
    message_within_conversation,
    played_within_track,
    listener_is_signed_in,
    playlist_positions,
    session_after_account,
    published_content_has_a_date,
)
