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
)

DATASET = Dataset(
    name="api_requests",
    description="Calls made to the tenant's API.",
    columns=(
        Column("request_id", "uuid", "Request id."),
        Column("user_id", "uuid", "Caller, if signed in.", nullable=True),
        Column("integration_id", "uuid", "Integration that called, if any.", nullable=True),
        Column("method", "text", "HTTP method.", rules=(OneOf(("GET", "POST", "PUT", "PATCH", "DELETE")),)),
        Column("path", "text", "Path without query.", rules=(Matches(r"/[^\s?]*"), Length(1, 500))),
        Column("status", "integer", "HTTP status.", rules=(Between(100, 599),)),
        Column("latency_ms", "double", "Milliseconds to answer.", rules=(Between(0, 600_000),)),
        Column("ip_address", "inet", "Address it came from.", nullable=True, privacy="ip"),
        Column("requested_at", "timestamptz", "When."),
    ),
    key=("request_id",),
    foreign_keys=(
        ForeignKey(("user_id",), "users", ("user_id",), on_delete="set null"),
        ForeignKey(("integration_id",), "integrations", ("integration_id",), on_delete="set null"),
    ),
    indexes=(("requested_at",),),
    retention=Retention("requested_at", days=90),
)
