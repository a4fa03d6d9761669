"""Playlists and texts: whose they are, whether they hold together, what was published when."""

from tenant_ops.validation.rules import Joined, Rows, Rule, Where, rule


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
    dataset="playlist_tracks",
    needs=("playlists",),
    remediation="Correct added_at of the entry, or the playlist's created_at and updated_at.",
)
def added_while_playlist_changed() -> Joined:
    """A track is added after the playlist was made and no later than its last change."""
    return Joined(
        "playlist_tracks.added_at < playlists.created_at OR playlist_tracks.added_at > playlists.updated_at",
        ("playlists",),
    )


@rule(
    level="business",
    severity="warning",
    dataset="playlists",
    needs=("users",),
    remediation="Give the playlist to an account that was in use, or correct its created_at.",
)
def playlist_owner_is_a_member() -> Joined:
    """A playlist's owner had taken up the account when it was made."""
    return Joined("users.status = 'invited' OR playlists.created_at < users.created_at", ("users",))


@rule(
    level="business",
    severity="warning",
    dataset="content",
    needs=("users",),
    remediation="Name the account that wrote it, or none; or correct created_at.",
)
def author_is_a_member() -> Joined:
    """A text's author had taken up the account when it was written."""
    return Joined("users.status = 'invited' OR content.created_at < users.created_at", ("users",))


@rule(
    level="business",
    severity="warning",
    dataset="content",
    remediation="Set published_at, or take the status back to draft.",
)
def published_content_has_a_date() -> Where:
    """What is published says since when."""
    return Where("status = 'published' AND published_at IS NULL")


@rule(
    level="business",
    severity="warning",
    dataset="content",
    remediation="Clear published_at, or publish it.",
)
def draft_is_not_published() -> Where:
    """What is a draft was not published."""
    return Where("status = 'draft' AND published_at IS NOT NULL")


@rule(
    level="business",
    severity="info",
    dataset="content",
    remediation="Count the words of the body again.",
)
def words_are_counted() -> Where:
    """A text has as many words as it says."""
    return Where(r"word_count <> coalesce(regexp_count(body, '\S+'), 0)")


CONTENT_RULES: tuple[Rule, ...] = (
    playlist_positions,
    added_while_playlist_changed,
    playlist_owner_is_a_member,
    author_is_a_member,
    published_content_has_a_date,
    draft_is_not_published,
    words_are_counted,
)
