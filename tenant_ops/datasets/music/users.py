"""Dataset `users`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, Length, Matches, OneOf, Order, Volume

DATASET = Dataset(
    name="users",
    description="People with an account at the tenant.",
    columns=(
        Column("user_id", "uuid", "Account id."),
        Column(
            "email",
            "text",
            "Sign-in address.",
            unique=True,
            privacy="email",
            rules=(Matches(r"[^@\s]+@[^@\s]+\.[^@\s]+"), Length(3, 254)),
            sample="email display_name",
        ),
        Column(
            "display_name",
            "text",
            "Name shown to others.",
            privacy="name",
            rules=(Length(1, 120),),
            sample="person",
        ),
        Column(
            "role",
            "text",
            "What the account may do.",
            rules=(OneOf(("admin", "editor", "viewer")),),
            sample="weighted admin=3 editor=17 viewer=80",
        ),
        Column(
            "status",
            "text",
            "Life cycle.",
            rules=(OneOf(("active", "invited", "disabled")),),
            sample="weighted active=90 disabled=10 last=invited:0.05",
        ),
        Column(
            "country",
            "text",
            "ISO 3166-1 alpha-2.",
            nullable=True,
            rules=(Matches(r"[A-Z]{2}"),),
            sample="word COUNTRIES null=0.05",
        ),
        Column(
            "birth_year",
            "integer",
            "Year only.",
            nullable=True,
            rules=(Between(1900, 2100),),
            sample="bell 1948 2010 null=0.15",
        ),
        Column(
            "preferences",
            "jsonb",
            "Settings the user chose.",
            nullable=True,
            sample="document theme=dark|light|system newsletter=true|false volume=0..100 null=0.1",
            shape="object",
        ),
        Column("created_at", "timestamptz", "Account opened.", sample="rising 0 0.6", past=True),
        Column(
            "last_seen_at",
            "timestamptz",
            "Last activity.",
            nullable=True,
            sample="between created_at end null=status:invited",
            past=True,
        ),
    ),
    key=("user_id",),
    alike=(("email",),),
    orders=(Order("created_at", "last_seen_at"),),
    volume=Volume(share=0.02, least=20),
)
