"""Analytics: each day's figures are what the rows of that day add up to.

A figure is compared when the rows it was made from are still there: days before the oldest row that is kept,
and its own, are left alone, since retention may have taken some of theirs.
"""

from tenant_ops.validation.rules import Rows, Rule, Where, rule

REMEDIATION = "Work that day's figures out again."


@rule(level="business", severity="warning", dataset="analytics_daily", remediation=REMEDIATION)
def computed_after_the_day() -> Where:
    """A day's figures were worked out after its end."""
    return Where("computed_at < (day + 1)::timestamp AT TIME ZONE 'UTC'")


@rule(
    level="business",
    severity="warning",
    dataset="analytics_daily",
    needs=("listening_events",),
    remediation=REMEDIATION,
)
def daily_plays() -> Rows:
    """A day's plays and minutes are those of its listening events."""
    return Rows("""
        WITH played AS MATERIALIZED (
            SELECT (played_at AT TIME ZONE 'UTC')::date AS day, count(*) AS plays,
                   sum(played_ms) / 60000.0 AS minutes
            FROM listening_events GROUP BY 1
        )
        SELECT day, metric FROM analytics_daily LEFT JOIN played USING (day)
        WHERE day > (SELECT min(day) FROM played)
        AND computed_at >= (day + 1)::timestamp AT TIME ZONE 'UTC'
        AND (metric = 'plays' AND value <> coalesce(plays, 0)
             OR metric = 'minutes' AND abs(value - coalesce(minutes, 0)) > 0.01)
    """)


@rule(
    level="business",
    severity="warning",
    dataset="analytics_daily",
    needs=("sessions",),
    remediation=REMEDIATION,
)
def daily_active_users() -> Rows:
    """A day's active users are those who signed in on it."""
    return Rows("""
        WITH present AS MATERIALIZED (
            SELECT day, count(*) AS users FROM (
                SELECT DISTINCT (started_at AT TIME ZONE 'UTC')::date AS day, user_id FROM sessions
            ) once GROUP BY 1
        )
        SELECT day, metric FROM analytics_daily LEFT JOIN present USING (day)
        WHERE day > (SELECT min(day) FROM present)
        AND computed_at >= (day + 1)::timestamp AT TIME ZONE 'UTC'
        AND metric = 'active_users' AND value <> coalesce(users, 0)
    """)


@rule(
    level="business",
    severity="warning",
    dataset="analytics_daily",
    needs=("ai_sessions",),
    remediation=REMEDIATION,
)
def daily_conversations() -> Rows:
    """A day's conversations, and what they cost, are those that began on it."""
    return Rows("""
        WITH talked AS MATERIALIZED (
            SELECT (started_at AT TIME ZONE 'UTC')::date AS day, count(*) AS conversations,
                   sum(cost_usd) AS cost
            FROM ai_sessions GROUP BY 1
        )
        SELECT day, metric FROM analytics_daily LEFT JOIN talked USING (day)
        WHERE day > (SELECT min(day) FROM talked)
        AND computed_at >= (day + 1)::timestamp AT TIME ZONE 'UTC'
        AND (metric = 'ai_sessions' AND value <> coalesce(conversations, 0)
             OR metric = 'ai_cost_usd' AND abs(value - coalesce(cost, 0)) > 0.01)
    """)


ANALYTICS_RULES: tuple[Rule, ...] = (
    computed_after_the_day,
    daily_plays,
    daily_active_users,
    daily_conversations,
)
