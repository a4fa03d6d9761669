"""Dataset `integrations`."""

from tenant_ops.datasets.definition import Column, Dataset, ForeignKey, Length, Matches, OneOf

DATASET = Dataset(
    name="integrations",
    description="Outside services the tenant is connected to.",
    columns=(
        Column("integration_id", "uuid", "Integration id."),
        Column("created_by", "uuid", "User who connected it; empty when the account is gone.", nullable=True),
        Column(
            "kind",
            "text",
            "Service.",
            rules=(OneOf(("spotify", "lastfm", "slack", "webhook", "salesforce", "s3")),),
        ),
        Column("label", "text", "Name given by the tenant.", rules=(Length(1, 120),)),
        Column("status", "text", "State.", rules=(OneOf(("enabled", "disabled", "error")),)),
        Column(
            "endpoint", "text", "Where it is reached.", nullable=True, rules=(Matches(r"https://[^\s]+"),)
        ),
        Column("settings", "jsonb", "Settings without secrets.", nullable=True),
        Column("created_at", "timestamptz", "Connected."),
    ),
    key=("integration_id",),
    foreign_keys=(ForeignKey(("created_by",), "users", ("user_id",), on_delete="set null"),),
    unique=(("kind", "label"),),
)
