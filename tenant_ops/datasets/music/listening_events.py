"""Dataset `listening_events`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, OneOf, Retention

DATASET = Dataset(
    name="listening_events",
    description="What was played, by whom, for how long.",
    columns=(
        Column("event_id", "uuid", "Event id."),
        Column("user_id", "uuid", "Listener."),
        Column("track_id", "uuid", "Track."),
        Column("session_id", "uuid", "Sign-in it happened in, if known.", nullable=True),
        Column("played_ms", "integer", "Milliseconds heard.", rules=(Between(0, 14_400_000),)),
        Column("completed", "boolean", "Heard to the end."),
        Column(
            "source",
            "text",
            "Where it was started from.",
            rules=(OneOf(("library", "playlist", "search", "agent", "radio")),),
        ),
        Column("played_at", "timestamptz", "Started."),
    ),
    key=("event_id",),
    foreign_keys=(
        ForeignKey(("user_id",), "users", ("user_id",)),
        ForeignKey(("track_id",), "tracks", ("track_id",)),
        ForeignKey(("session_id",), "sessions", ("session_id",), on_delete="set null"),
    ),
    indexes=(("played_at",),),
    retention=Retention("played_at", days=730),
)
