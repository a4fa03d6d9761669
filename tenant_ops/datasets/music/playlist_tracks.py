"""Dataset `playlist_tracks`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, Volume

DATASET = Dataset(
    name="playlist_tracks",
    description="Which track stands at which place of a playlist.",
    columns=(
        Column("playlist_id", "uuid", "Playlist.", sample="group"),
        Column(
            "position", "integer", "Place, from 1.", rules=(Between(1, 10_000),), sample="ordinal playlist_id"
        ),
        Column("track_id", "uuid", "Track.", sample="pick skewed"),
        Column(
            "added_at",
            "timestamptz",
            "Put there.",
            sample="between playlist_id.created_at playlist_id.updated_at",
            past=True,
        ),
    ),
    key=("playlist_id", "position"),
    foreign_keys=(
        ForeignKey(("playlist_id",), "playlists", ("playlist_id",)),
        ForeignKey(("track_id",), "tracks", ("track_id",)),
    ),
    volume=Volume(share=0.4),
)
