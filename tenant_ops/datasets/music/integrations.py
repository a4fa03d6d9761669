"""Dataset `integrations`."""

from tenant_ops.datasets.definition import Column, Dataset, ForeignKey, Length, Matches, OneOf, Volume

DATASET = Dataset(
    name="integrations",
    description="Outside services the tenant is connected to.",
    columns=(
        Column("integration_id", "uuid", "Integration id."),
        Column(
            "created_by",
            "uuid",
            "User who connected it; empty when the account is gone.",
            nullable=True,
            sample="pick skewed within=0.2 null=0.1",
        ),
        Column(
            "kind",
            "text",
            "Service.",
            rules=(OneOf(("spotify", "lastfm", "slack", "webhook", "salesforce", "s3")),),
            sample="choice spotify lastfm slack webhook salesforce s3",
        ),
        Column("label", "text", "Name given by the tenant.", rules=(Length(1, 120),), sample="label kind"),
        Column(
            "status",
            "text",
            "State.",
            rules=(OneOf(("enabled", "disabled", "error")),),
            sample="weighted enabled=85 disabled=10 error=5",
        ),
        Column(
            "endpoint",
            "text",
            "Where it is reached.",
            nullable=True,
            rules=(Matches(r"https://[^\s]+"),),
            sample="fill https://{kind}.example/hooks/{#} null=0.2",
        ),
        Column(
            "settings",
            "jsonb",
            "Settings without secrets.",
            nullable=True,
            sample="document channel=music|general|alerts retries=0..5 verify=true|false null=0.2",
            shape="object",
        ),
        Column(
            "created_at", "timestamptz", "Connected.", sample="between created_by.created_at end", past=True
        ),
    ),
    key=("integration_id",),
    alike=(("kind", "label"),),
    foreign_keys=(ForeignKey(("created_by",), "users", ("user_id",), on_delete="set null"),),
    unique=(("kind", "label"),),
    volume=Volume(share=0.0001, least=4, most=40),
)
