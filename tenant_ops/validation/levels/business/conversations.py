"""Conversations with the agent: their messages add up, and they cost what they should."""

from tenant_ops.validation.rules import Joined, Rows, Rule, Where, rule


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
    remediation="Number the messages of the conversation by the time they were sent.",
)
def messages_in_order() -> Rows:
    """The messages of a conversation were sent in the order of their numbers."""
    return Rows("""
        SELECT ai_message_id FROM (
            SELECT ai_message_id, sent_at,
                   lag(sent_at) OVER (PARTITION BY ai_session_id ORDER BY ordinal) AS before
            FROM ai_messages
        ) m WHERE sent_at < before
    """)


@rule(
    level="business",
    severity="warning",
    dataset="ai_messages",
    remediation="Correct the author of the message, or load the one that came before it.",
)
def user_speaks_first() -> Where:
    """A conversation is begun by the user."""
    return Where("ordinal = 1 AND author <> 'user'")


@rule(
    level="business",
    severity="warning",
    dataset="ai_messages",
    needs=("ai_sessions",),
    remediation="Correct sent_at of the message, or the times of its conversation.",
)
def message_within_conversation() -> Joined:
    """A message is sent while its conversation goes on."""
    return Joined(
        "ai_messages.sent_at < ai_sessions.started_at OR ai_messages.sent_at > ai_sessions.ended_at",
        ("ai_sessions",),
    )


@rule(
    level="business",
    severity="error",
    dataset="ai_sessions",
    needs=("sessions",),
    remediation="Attach the conversation to a session of the same user, or to none.",
)
def speaker_is_signed_in() -> Joined:
    """Who talks with the agent within a sign-in is the user who signed in, and does so while it lasts."""
    return Joined(
        "ai_sessions.user_id <> sessions.user_id "
        "OR ai_sessions.started_at < sessions.started_at "
        "OR coalesce(ai_sessions.ended_at, ai_sessions.started_at) > sessions.ended_at",
        ("sessions",),
    )


@rule(
    level="business",
    severity="error",
    dataset="ai_sessions",
    remediation="Ask the model's bill: correct cost_usd or total_tokens.",
)
def tokens_cost_something() -> Where:
    """A conversation costs something when, and only when, it used tokens."""
    return Where("(total_tokens > 0) <> (cost_usd > 0)")


@rule(
    level="business",
    severity="warning",
    dataset="ai_sessions",
    remediation="Compare cost_usd and total_tokens with the model's bill: one of them may have another unit.",
)
def cost_in_line_with_model() -> Rows:
    """A token costs at most ten times as much or as little as it usually does with that model.

    Usual is the median of at least five conversations: a wrong unit moves it far less than a mean.
    """
    return Rows("""
        SELECT s.ai_session_id FROM ai_sessions s
        JOIN (
            SELECT model, percentile_cont(0.5) WITHIN GROUP (ORDER BY cost_usd / total_tokens) AS usual
            FROM ai_sessions WHERE total_tokens > 0 AND cost_usd > 0 GROUP BY model HAVING count(*) >= 5
        ) m USING (model)
        WHERE s.total_tokens > 0 AND s.cost_usd > 0
        AND s.cost_usd / s.total_tokens NOT BETWEEN m.usual / 10 AND m.usual * 10
    """)


CONVERSATION_RULES: tuple[Rule, ...] = (
    ai_token_totals,
    message_ordinals,
    messages_in_order,
    user_speaks_first,
    message_within_conversation,
    speaker_is_signed_in,
    tokens_cost_something,
    cost_in_line_with_model,
)
