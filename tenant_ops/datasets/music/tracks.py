"""Dataset `tracks`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, Length, Matches, Volume

DATASET = Dataset(
    name="tracks",
    description="Recordings that can be played.",
    columns=(
        Column("track_id", "uuid", "Track id."),
        Column("artist_id", "uuid", "Performing artist.", sample="pick skewed"),
        Column("title", "text", "Title.", rules=(Length(1, 300),), sample="title"),
        Column(
            "isrc",
            "text",
            "Recording code.",
            nullable=True,
            unique=True,
            rules=(Matches(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}"),),
            sample="isrc null=0.05",
        ),
        Column(
            "duration_ms",
            "integer",
            "Length in milliseconds.",
            rules=(Between(1_000, 14_400_000),),
            sample="bell 95000 420000",
        ),
        Column(
            "explicit", "boolean", "Carries an explicit-lyrics mark.", sample="choice false false false true"
        ),
        Column(
            "price",
            "numeric",
            "List price in the tenant's currency.",
            nullable=True,
            rules=(Between(0, 1_000),),
            sample="choice 0.69 0.99 0.99 1.29 null=0.1",
        ),
        Column(
            "released_on",
            "date",
            "Release date.",
            nullable=True,
            sample="bell 1984-01-01 2024-01-01 null=0.05",
        ),
        Column(
            "features",
            "jsonb",
            "Audio features (tempo, energy, key).",
            nullable=True,
            sample="document tempo=62.0..184.0 energy=0.00..1.00 key=C|D|E|F|G|A|B live=true|false null=0.1",
            shape="object",
        ),
    ),
    key=("track_id",),
    foreign_keys=(ForeignKey(("artist_id",), "artists", ("artist_id",)),),
    volume=Volume(share=0.05, least=30),
)
