"""Dataset `users`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, Length, Matches, OneOf, Order

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
        ),
        Column("display_name", "text", "Name shown to others.", privacy="name", rules=(Length(1, 120),)),
        Column("role", "text", "What the account may do.", rules=(OneOf(("admin", "editor", "viewer")),)),
        Column("status", "text", "Life cycle.", rules=(OneOf(("active", "invited", "disabled")),)),
        Column("country", "text", "ISO 3166-1 alpha-2.", nullable=True, rules=(Matches(r"[A-Z]{2}"),)),
        Column("birth_year", "integer", "Year only.", nullable=True, rules=(Between(1900, 2100),)),
        Column("preferences", "jsonb", "Settings the user chose.", nullable=True),
        Column("created_at", "timestamptz", "Account opened."),
        Column("last_seen_at", "timestamptz", "Last activity.", nullable=True),
    ),
    key=("user_id",),
    orders=(Order("created_at", "last_seen_at"),),
)
