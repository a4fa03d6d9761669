"""Dataset `playlists`."""

from tenant_ops.datasets.definition import Column, Dataset, ForeignKey, Length, OneOf, Order

DATASET = Dataset(
    name="playlists",
    description="Ordered collections of tracks that users keep.",
    columns=(
        Column("playlist_id", "uuid", "Playlist id."),
        Column("owner_id", "uuid", "User who keeps it."),
        Column("title", "text", "Title.", rules=(Length(1, 200),)),
        Column("visibility", "text", "Who sees it.", rules=(OneOf(("private", "shared", "public")),)),
        Column("created_by_agent", "boolean", "Made by the AI agent rather than by hand."),
        Column("created_at", "timestamptz", "Made."),
        Column("updated_at", "timestamptz", "Last changed."),
    ),
    key=("playlist_id",),
    foreign_keys=(ForeignKey(("owner_id",), "users", ("user_id",)),),
    orders=(Order("created_at", "updated_at"),),
)
