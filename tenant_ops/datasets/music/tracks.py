"""Dataset `tracks`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, Length, Matches

DATASET = Dataset(
    name="tracks",
    description="Recordings that can be played.",
    columns=(
        Column("track_id", "uuid", "Track id."),
        Column("artist_id", "uuid", "Performing artist."),
        Column("title", "text", "Title.", rules=(Length(1, 300),)),
        Column(
            "isrc",
            "text",
            "Recording code.",
            nullable=True,
            unique=True,
            rules=(Matches(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}"),),
        ),
        Column("duration_ms", "integer", "Length in milliseconds.", rules=(Between(1_000, 14_400_000),)),
        Column("explicit", "boolean", "Carries an explicit-lyrics mark."),
        Column(
            "price",
            "numeric",
            "List price in the tenant's currency.",
            nullable=True,
            rules=(Between(0, 1_000),),
        ),
        Column("released_on", "date", "Release date.", nullable=True),
        Column("features", "jsonb", "Audio features (tempo, energy, key).", nullable=True),
    ),
    key=("track_id",),
    foreign_keys=(ForeignKey(("artist_id",), "artists", ("artist_id",)),),
)
