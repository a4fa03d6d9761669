"""Dataset `playlist_tracks`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey

DATASET = Dataset(
    name="playlist_tracks",
    description="Which track stands at which place of a playlist.",
    columns=(
        Column("playlist_id", "uuid", "Playlist."),
        Column("position", "integer", "Place, from 1.", rules=(Between(1, 10_000),)),
        Column("track_id", "uuid", "Track."),
        Column("added_at", "timestamptz", "Put there."),
    ),
    key=("playlist_id", "position"),
    foreign_keys=(
        ForeignKey(("playlist_id",), "playlists", ("playlist_id",)),
        ForeignKey(("track_id",), "tracks", ("track_id",)),
    ),
)
