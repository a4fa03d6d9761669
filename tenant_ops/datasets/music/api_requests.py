"""Dataset `api_requests`."""

from tenant_ops.datasets.definition import (
    Between,
    Column,
    Dataset,
    ForeignKey,
    Length,
    Matches,
    OneOf,
    Retention,
    Volume,
)

DATASET = Dataset(
    name="api_requests",
    description="Calls made to the tenant's API.",
    columns=(
        Column("request_id", "uuid", "Request id."),
        Column(
            "user_id",
            "uuid",
            "Caller, if signed in.",
            nullable=True,
            sample="pick skewed within=0.95 null=0.3",
        ),
        Column(
            "integration_id",
            "uuid",
            "Integration that called, if any.",
            nullable=True,
            sample="pick null=0.7",
        ),
        Column(
            "method",
            "text",
            "HTTP method.",
            rules=(OneOf(("GET", "POST", "PUT", "PATCH", "DELETE")),),
            sample="weighted GET=72 POST=18 PUT=4 PATCH=3 DELETE=3",
        ),
        Column(
            "path",
            "text",
            "Path without query.",
            rules=(Matches(r"/[^\s?]*"), Length(1, 500)),
            sample=(
                "choice /v1/tracks /v1/tracks/search /v1/playlists /v1/agent/chat /v1/agent/chat"
                " /v1/events /v1/users/me"
            ),
        ),
        Column(
            "status",
            "integer",
            "HTTP status.",
            rules=(Between(100, 599),),
            sample="weighted 200=86 201=5 304=3 401=1 404=3 429=1 500=1",
        ),
        Column(
            "latency_ms",
            "double",
            "Milliseconds to answer.",
            rules=(Between(0, 600_000),),
            sample="skewed 3 2400 scale=1",
        ),
        Column(
            "ip_address",
            "inet",
            "Address it came from.",
            nullable=True,
            privacy="ip",
            sample="address null=0.02",
        ),
        Column("requested_at", "timestamptz", "When.", sample="between user_id.created_at end", past=True),
    ),
    key=("request_id",),
    foreign_keys=(
        ForeignKey(("user_id",), "users", ("user_id",), on_delete="set null"),
        ForeignKey(("integration_id",), "integrations", ("integration_id",), on_delete="set null"),
    ),
    indexes=(("requested_at",),),
    retention=Retention("requested_at", days=90),
    volume=Volume(share=0.6),
)
