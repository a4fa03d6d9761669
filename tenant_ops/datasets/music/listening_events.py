"""Dataset `listening_events`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, OneOf, Retention, Volume

DATASET = Dataset(
    name="listening_events",
    description="What was played, by whom, for how long.",
    columns=(
        Column("event_id", "uuid", "Event id."),
        Column("user_id", "uuid", "Listener.", sample="through session_id"),
        Column("track_id", "uuid", "Track.", sample="pick skewed"),
        Column(
            "session_id", "uuid", "Sign-in it happened in, if known.", nullable=True, sample="pick null=0.1"
        ),
        Column(
            "played_ms",
            "integer",
            "Milliseconds heard.",
            rules=(Between(0, 14_400_000),),
            sample="at_most track_id.duration_ms whole=0.6",
        ),
        Column("completed", "boolean", "Heard to the end.", sample="reaches played_ms track_id.duration_ms"),
        Column(
            "source",
            "text",
            "Where it was started from.",
            rules=(OneOf(("library", "playlist", "search", "agent", "radio")),),
            sample="weighted library=25 playlist=35 search=15 agent=20 radio=5",
        ),
        Column(
            "played_at",
            "timestamptz",
            "Started.",
            sample="between session_id.started_at session_id.ended_at",
            past=True,
        ),
    ),
    key=("event_id",),
    foreign_keys=(
        ForeignKey(("user_id",), "users", ("user_id",)),
        ForeignKey(("track_id",), "tracks", ("track_id",)),
        ForeignKey(("session_id",), "sessions", ("session_id",), on_delete="set null"),
    ),
    indexes=(("played_at",),),
    retention=Retention("played_at", days=730),
    volume=Volume(share=1),
)
