"""Dataset `sessions`."""

from tenant_ops.datasets.definition import Column, Dataset, ForeignKey, OneOf, Order, Retention

DATASET = Dataset(
    name="sessions",
    description="Sign-ins: from when to when a user was present, and from where.",
    columns=(
        Column("session_id", "uuid", "Session id."),
        Column("user_id", "uuid", "Who."),
        Column(
            "device",
            "text",
            "Kind of client.",
            rules=(OneOf(("web", "ios", "android", "desktop", "speaker")),),
        ),
        Column("ip_address", "inet", "Address it came from.", nullable=True, privacy="ip"),
        Column("started_at", "timestamptz", "Signed in."),
        Column("ended_at", "timestamptz", "Signed out; empty while open.", nullable=True),
    ),
    key=("session_id",),
    foreign_keys=(ForeignKey(("user_id",), "users", ("user_id",)),),
    indexes=(("started_at",),),
    orders=(Order("started_at", "ended_at"),),
    retention=Retention("started_at", days=365),
)
