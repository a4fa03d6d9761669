"""Dataset `sessions`."""

from tenant_ops.datasets.definition import Column, Dataset, ForeignKey, OneOf, Order, Retention, Volume

DATASET = Dataset(
    name="sessions",
    description="Sign-ins: from when to when a user was present, and from where.",
    columns=(
        Column("session_id", "uuid", "Session id."),
        Column("user_id", "uuid", "Who.", sample="pick skewed within=0.95"),
        Column(
            "device",
            "text",
            "Kind of client.",
            rules=(OneOf(("web", "ios", "android", "desktop", "speaker")),),
            sample="weighted web=30 ios=30 android=25 desktop=10 speaker=5",
        ),
        Column(
            "ip_address",
            "inet",
            "Address it came from.",
            nullable=True,
            privacy="ip",
            sample="address null=0.03",
        ),
        Column(
            "started_at",
            "timestamptz",
            "Signed in.",
            sample="between user_id.created_at user_id.last_seen_at",
            past=True,
        ),
        Column(
            "ended_at",
            "timestamptz",
            "Signed out; empty while open.",
            nullable=True,
            sample="after started_at 60 14400 most=user_id.last_seen_at null=0.05",
            past=True,
        ),
    ),
    key=("session_id",),
    foreign_keys=(ForeignKey(("user_id",), "users", ("user_id",)),),
    indexes=(("started_at",),),
    orders=(Order("started_at", "ended_at"),),
    retention=Retention("started_at", days=365),
    volume=Volume(share=0.15),
)
