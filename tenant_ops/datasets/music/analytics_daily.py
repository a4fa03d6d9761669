"""Dataset `analytics_daily`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, OneOf, Volume

DATASET = Dataset(
    name="analytics_daily",
    description="One figure per day and metric.",
    columns=(
        Column("day", "date", "UTC day."),
        Column(
            "metric",
            "text",
            "What is counted.",
            rules=(OneOf(("active_users", "plays", "minutes", "ai_sessions", "ai_cost_usd")),),
        ),
        Column(
            "value",
            "double",
            "The figure.",
            rules=(Between(0),),
            sample=(
                "rollup day metric"
                " active_users=sessions#user_id@started_at"
                " plays=listening_events@played_at"
                " minutes=listening_events.played_ms/60000@played_at"
                " ai_sessions=ai_sessions@started_at"
                " ai_cost_usd=ai_sessions.cost_usd@started_at"
            ),
        ),
        Column("computed_at", "timestamptz", "When it was worked out.", sample="next_morning day", past=True),
    ),
    key=("day", "metric"),
    volume=Volume(share=1),
)
