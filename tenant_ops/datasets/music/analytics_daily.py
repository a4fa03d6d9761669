"""Dataset `analytics_daily`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, OneOf

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
        Column("value", "double", "The figure.", rules=(Between(0),)),
        Column("computed_at", "timestamptz", "When it was worked out."),
    ),
    key=("day", "metric"),
)
