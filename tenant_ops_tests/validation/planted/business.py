"""Planted faults, business level: rows that make no sense together.

Where a fault changes what happened on a day, that day's figures are wrong too, and are expected to be found.
"""


def first(key: str, table: str, condition: str = "true") -> str:
    """The key of the first row of a table for which the condition is true."""
    return f"(SELECT {key} FROM {table} WHERE {condition} ORDER BY {key} LIMIT 1)"


INVITED = first("user_id", "users", "status = 'invited'")
SESSION = "(SELECT ai_session_id FROM ai_messages GROUP BY 1 HAVING count(*) > 2 ORDER BY 1 LIMIT 1)"
EVENT = first("event_id", "listening_events", "session_id IS NOT NULL AND completed")
FIGURE = "day = (SELECT max(day) FROM analytics_daily)"
OLD_TRACK = "track_id IN (SELECT track_id FROM tracks WHERE released_on < '2001-01-01')"
ENABLED = first("integration_id", "integrations", "status = 'enabled'")
SIGNED_IN = first("ai_session_id", "ai_sessions", "session_id IS NOT NULL")


BUSINESS = {
    "no administrator": (
        ["UPDATE users SET role = 'viewer'"],
        {"business.one_active_admin/users": 1},
    ),
    "an administrator who may not sign in": (
        ["UPDATE users SET status = 'disabled'"],
        {"business.one_active_admin/users": 1},
    ),
    "invited, yet seen": (
        [f"UPDATE users SET last_seen_at = created_at WHERE user_id = {INVITED}"],
        {"business.invited_was_never_seen/users": 1},
    ),
    "invited, yet signed in": (
        [
            "INSERT INTO sessions (session_id, user_id, device, started_at) "
            f"SELECT gen_random_uuid(), user_id, 'web', now() FROM users WHERE user_id = {INVITED}"
        ],
        {"business.invited_has_not_signed_in/sessions": 1},
    ),
    "a sign-in before the account": (
        [
            "UPDATE sessions SET started_at = '2001-01-01' "
            "WHERE session_id = (SELECT session_id FROM sessions ORDER BY 1 LIMIT 1)"
        ],
        {"business.session_after_account/sessions": 1, "business.daily_active_users/analytics_daily": 1},
    ),
    "signed in after being last seen": (
        [
            "UPDATE sessions s SET ended_at = u.last_seen_at + interval '1 hour' FROM users u "
            f"WHERE u.user_id = s.user_id AND session_id = {first('session_id', 'sessions')}"
        ],
        {"business.seen_when_signed_in/sessions": 1},
    ),
    "more heard than there is": (
        [
            f"UPDATE listening_events e SET played_ms = t.duration_ms + 1 FROM tracks t "
            f"WHERE t.track_id = e.track_id AND event_id = {EVENT}"
        ],
        {"business.played_within_track/listening_events": 1},
    ),
    "completed half way": (
        [
            "UPDATE listening_events SET completed = true "
            f"WHERE event_id = {first('event_id', 'listening_events', 'NOT completed')}"
        ],
        {"business.completed_means_whole/listening_events": 1},
    ),
    "played before it was released": (
        [
            "UPDATE tracks SET released_on = '2099-01-01' WHERE track_id = (SELECT track_id "
            "FROM listening_events GROUP BY 1 HAVING count(*) = 1 ORDER BY 1 LIMIT 1)"
        ],
        {"business.played_after_release/listening_events": 1},
    ),
    "somebody else's sign-in": (
        [
            f"UPDATE listening_events e SET user_id = (SELECT min(user_id::text) FROM users u "
            f"WHERE u.user_id <> e.user_id)::uuid WHERE event_id = {EVENT}"
        ],
        {"business.listener_is_signed_in/listening_events": 1},
    ),
    "a play before the account": (
        [
            "UPDATE listening_events SET played_at = '2001-01-01' "
            f"WHERE event_id = {first('event_id', 'listening_events', f'session_id IS NULL AND {OLD_TRACK}')}"
        ],
        {"business.played_within_account/listening_events": 1, "business.daily_plays/analytics_daily": 2},
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
    "a question after its answer": (
        [
            "UPDATE ai_messages m SET sent_at = n.sent_at + interval '1 microsecond' FROM ai_messages n "
            "WHERE n.ai_session_id = m.ai_session_id AND n.ordinal = 2 AND m.ordinal = 1 "
            f"AND m.ai_session_id = {SESSION}"
        ],
        {"business.messages_in_order/ai_messages": 1},
    ),
    "the agent speaks first": (
        [f"UPDATE ai_messages SET author = 'assistant' WHERE ai_session_id = {SESSION} AND ordinal = 1"],
        {"business.user_speaks_first/ai_messages": 1},
    ),
    "a message before its conversation": (
        [
            f"UPDATE ai_messages SET sent_at = sent_at - interval '1 year' "
            f"WHERE ai_session_id = {SESSION} AND ordinal = 1"
        ],
        {"business.message_within_conversation/ai_messages": 1},
    ),
    "somebody else's conversation": (
        [
            "UPDATE ai_sessions a SET user_id = (SELECT min(user_id::text) FROM users u "
            f"WHERE u.user_id <> a.user_id)::uuid WHERE ai_session_id = {SIGNED_IN}"
        ],
        {"business.speaker_is_signed_in/ai_sessions": 1},
    ),
    "tokens for nothing": (
        [f"UPDATE ai_sessions SET cost_usd = 0 WHERE ai_session_id = {SESSION}"],
        {"business.tokens_cost_something/ai_sessions": 1, "business.daily_conversations/analytics_daily": 1},
    ),
    "dollars written as cents": (
        [
            "UPDATE ai_sessions SET model = 'muse-small'",
            f"UPDATE ai_sessions SET cost_usd = cost_usd * 100 WHERE ai_session_id = {SESSION}",
        ],
        {
            "business.cost_in_line_with_model/ai_sessions": 1,
            "business.daily_conversations/analytics_daily": 1,
        },
    ),
    "a gap in a playlist": (
        [
            "DELETE FROM playlist_tracks p WHERE (playlist_id, position) = (SELECT playlist_id, 2 "
            "FROM playlist_tracks GROUP BY 1 HAVING count(*) > 2 ORDER BY 1 LIMIT 1)"
        ],
        {"business.playlist_positions/playlist_tracks": 1},
    ),
    "added before there was a playlist": (
        [
            "UPDATE playlist_tracks SET added_at = '2001-01-01' WHERE (playlist_id, position) = "
            f"({first('playlist_id', 'playlist_tracks')}, 1)"
        ],
        {"business.added_while_playlist_changed/playlist_tracks": 1},
    ),
    "a playlist of one who never came": (
        [
            f"UPDATE playlists SET owner_id = {INVITED} "
            f"WHERE playlist_id = {first('playlist_id', 'playlists')}"
        ],
        {"business.playlist_owner_is_a_member/playlists": 1},
    ),
    "a text of one who never came": (
        [f"UPDATE content SET author_id = {INVITED} WHERE content_id = {first('content_id', 'content')}"],
        {"business.author_is_a_member/content": 1},
    ),
    "published, nobody knows when": (
        [
            "UPDATE content SET status = 'published', published_at = NULL "
            "WHERE content_id = (SELECT content_id FROM content ORDER BY 1 LIMIT 1)"
        ],
        {"business.published_content_has_a_date/content": 1},
    ),
    "a draft everybody read": (
        [
            "UPDATE content SET status = 'draft' WHERE content_id = "
            f"{first('content_id', 'content', 'published_at IS NOT NULL')}"
        ],
        {"business.draft_is_not_published/content": 1},
    ),
    "a word too many": (
        [
            "UPDATE content SET word_count = word_count + 1 "
            f"WHERE content_id = {first('content_id', 'content')}"
        ],
        {"business.words_are_counted/content": 1},
    ),
    "a service connected by one who never came": (
        [
            f"UPDATE integrations SET created_by = {INVITED} "
            f"WHERE integration_id = {first('integration_id', 'integrations')}"
        ],
        {"business.connected_by_a_member/integrations": 1},
    ),
    "a credential that ran out": (
        [
            """UPDATE integrations SET settings = '{"credential_expires_at": "2020-02-29T12:00:00Z"}' """
            f"WHERE integration_id = {ENABLED}"
        ],
        {"business.credential_is_live/integrations": 1},
    ),
    "a caller who never came": (
        [
            f"UPDATE api_requests SET user_id = {INVITED} "
            f"WHERE request_id = {first('request_id', 'api_requests')}"
        ],
        {"business.caller_is_a_member/api_requests": 1},
    ),
    "figures of half a day": (
        [
            "UPDATE analytics_daily SET computed_at = day + interval '12 hours' "
            f"WHERE metric = 'plays' AND {FIGURE}"
        ],
        {"business.computed_after_the_day/analytics_daily": 1},
    ),
    "a play too many": (
        [f"UPDATE analytics_daily SET value = value + 1 WHERE metric = 'plays' AND {FIGURE}"],
        {"business.daily_plays/analytics_daily": 1},
    ),
    "a listener too many": (
        [f"UPDATE analytics_daily SET value = value + 1 WHERE metric = 'active_users' AND {FIGURE}"],
        {"business.daily_active_users/analytics_daily": 1},
    ),
    "a conversation too many": (
        [f"UPDATE analytics_daily SET value = value + 1 WHERE metric = 'ai_sessions' AND {FIGURE}"],
        {"business.daily_conversations/analytics_daily": 1},
    ),
}
