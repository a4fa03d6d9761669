"""Dataset `artists`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, Length, Matches

DATASET = Dataset(
    name="artists",
    description="Artists in the tenant's music library.",
    columns=(
        Column("artist_id", "uuid", "Artist id."),
        Column("name", "text", "Stage name.", rules=(Length(1, 200),)),
        Column("genre", "text", "Main genre.", nullable=True, rules=(Length(1, 60),)),
        Column("country", "text", "ISO 3166-1 alpha-2.", nullable=True, rules=(Matches(r"[A-Z]{2}"),)),
        Column("followers", "bigint", "Followers on the platform.", rules=(Between(0),)),
        Column("created_at", "timestamptz", "Added to the library."),
    ),
    key=("artist_id",),
    indexes=(("name",),),
)
