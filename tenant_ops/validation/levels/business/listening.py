"""Listening: plays fit the track, the sign-in they happened in, and the account."""

from tenant_ops.validation.rules import Joined, Rule, rule


@rule(
    level="business",
    severity="error",
    dataset="listening_events",
    needs=("tracks",),
    remediation="Cap played_ms at the track's duration, or correct the duration.",
)
def played_within_track() -> Joined:
    """Nobody hears more of a track than it is long."""
    return Joined("listening_events.played_ms > tracks.duration_ms", ("tracks",))


@rule(
    level="business",
    severity="warning",
    dataset="listening_events",
    needs=("tracks",),
    remediation="Set completed by played_ms and the track's duration.",
)
def completed_means_whole() -> Joined:
    """A play is marked completed when, and only when, the whole track was heard."""
    return Joined(
        "(listening_events.completed AND listening_events.played_ms < tracks.duration_ms) "
        "OR (NOT listening_events.completed AND listening_events.played_ms = tracks.duration_ms)",
        ("tracks",),
    )


@rule(
    level="business",
    severity="warning",
    dataset="listening_events",
    needs=("tracks",),
    remediation="Correct the release date of the track, or the time of the play.",
)
def played_after_release() -> Joined:
    """No track is played before it was released."""
    return Joined(
        "(listening_events.played_at AT TIME ZONE 'UTC')::date < tracks.released_on",
        ("tracks",),
    )


@rule(
    level="business",
    severity="error",
    dataset="listening_events",
    needs=("sessions",),
    remediation="Attach the event to a session of the same user, or to none.",
)
def listener_is_signed_in() -> Joined:
    """Who listens within a sign-in is the user who signed in, and does so while it lasts."""
    return Joined(
        "listening_events.user_id <> sessions.user_id "
        "OR listening_events.played_at < sessions.started_at "
        "OR listening_events.played_at > sessions.ended_at",
        ("sessions",),
    )


@rule(
    level="business",
    severity="warning",
    dataset="listening_events",
    needs=("users",),
    remediation="Correct the time of the play, or the account's created_at and last_seen_at.",
)
def played_within_account() -> Joined:
    """Who listens outside any known sign-in has an account by then, and was seen no earlier."""
    return Joined(
        "listening_events.session_id IS NULL AND users.last_seen_at >= users.created_at "
        "AND (listening_events.played_at < users.created_at "
        "OR listening_events.played_at > users.last_seen_at)",
        ("users",),
    )


LISTENING_RULES: tuple[Rule, ...] = (
    played_within_track,
    completed_means_whole,
    played_after_release,
    listener_is_signed_in,
    played_within_account,
)
