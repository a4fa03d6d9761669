"""Dataset `artists`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, Length, Matches, Volume

DATASET = Dataset(
    name="artists",
    description="Artists in the tenant's music library.",
    columns=(
        Column("artist_id", "uuid", "Artist id."),
        Column("name", "text", "Stage name.", rules=(Length(1, 200),), sample="stage_name"),
        Column(
            "genre",
            "text",
            "Main genre.",
            nullable=True,
            rules=(Length(1, 60),),
            sample="word GENRES null=0.03",
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
            "followers",
            "bigint",
            "Followers on the platform.",
            rules=(Between(0),),
            sample="skewed 40 9000000",
        ),
        Column("created_at", "timestamptz", "Added to the library.", sample="rising 0 0.1", past=True),
    ),
    key=("artist_id",),
    alike=(("name",),),
    indexes=(("name",),),
    volume=Volume(share=0.01, least=12),
)
