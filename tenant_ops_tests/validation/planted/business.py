"""Planted faults, business level: rows that make no sense together."""

SESSION = "(SELECT ai_session_id FROM ai_messages GROUP BY 1 HAVING count(*) > 2 ORDER BY 1 LIMIT 1)"
EVENT = "(SELECT event_id FROM listening_events WHERE session_id IS NOT NULL ORDER BY 1 LIMIT 1)"

BUSINESS = {
    "no administrator": (
        ["UPDATE users SET role = 'viewer'"],
        {"business.one_active_admin/users": 1},
    ),
    "an administrator who may not sign in": (
        ["UPDATE users SET status = 'disabled'"],
        {"business.one_active_admin/users": 1},
    ),
    "tokens that do not add up": (
        [f"UPDATE ai_sessions SET total_tokens = total_tokens + 1 WHERE ai_session_id = {SESSION}"],
        {"business.ai_token_totals/ai_sessions": 1},
    ),
    "a message lost": (
        [
            f"UPDATE ai_sessions SET total_tokens = total_tokens - (SELECT tokens FROM ai_messages "
            f"WHERE ai_session_id = {SESSION} AND ordinal = 2) WHERE ai_session_id = {SESSION}",
            f"DELETE FROM ai_messages WHERE ai_session_id = {SESSION} AND ordinal = 2",
        ],
        {"business.message_ordinals/ai_messages": 1},
    ),
    "a message before its conversation": (
        [
            f"UPDATE ai_messages SET sent_at = sent_at - interval '1 year' "
            f"WHERE ai_session_id = {SESSION} AND ordinal = 1"
        ],
        {"business.message_within_conversation/ai_messages": 1},
    ),
    "more heard than there is": (
        [
            f"UPDATE listening_events e SET played_ms = t.duration_ms + 1 FROM tracks t "
            f"WHERE t.track_id = e.track_id AND event_id = {EVENT}"
        ],
        {"business.played_within_track/listening_events": 1},
    ),
    "somebody else's sign-in": (
        [
            f"UPDATE listening_events e SET user_id = (SELECT min(user_id::text) FROM users u "
            f"WHERE u.user_id <> e.user_id)::uuid WHERE event_id = {EVENT}"
        ],
        {"business.listener_is_signed_in/listening_events": 1},
    ),
    "a gap in a playlist": (
        [
            "DELETE FROM playlist_tracks p WHERE (playlist_id, position) = (SELECT playlist_id, 2 "
            "FROM playlist_tracks GROUP BY 1 HAVING count(*) > 2 ORDER BY 1 LIMIT 1)"
        ],
        {"business.playlist_positions/playlist_tracks": 1},
    ),
    "a sign-in before the account": (
        [
            "UPDATE sessions SET started_at = '2001-01-01' "
            "WHERE session_id = (SELECT session_id FROM sessions ORDER BY 1 LIMIT 1)"
        ],
        {"business.session_after_account/sessions": 1},
    ),
    "published, nobody knows when": (
        [
            "UPDATE content SET status = 'published', published_at = NULL "
            "WHERE content_id = (SELECT content_id FROM content ORDER BY 1 LIMIT 1)"
        ],
        {"business.published_content_has_a_date/content": 1},
    ),
}
