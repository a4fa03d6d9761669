"""Dataset `playlists`."""

from tenant_ops.datasets.definition import Column, Dataset, ForeignKey, Length, OneOf, Order, Volume

DATASET = Dataset(
    name="playlists",
    description="Ordered collections of tracks that users keep.",
    columns=(
        Column("playlist_id", "uuid", "Playlist id."),
        Column("owner_id", "uuid", "User who keeps it.", sample="pick skewed within=0.95"),
        Column("title", "text", "Title.", rules=(Length(1, 200),), sample="title"),
        Column(
            "visibility",
            "text",
            "Who sees it.",
            rules=(OneOf(("private", "shared", "public")),),
            sample="weighted private=60 shared=15 public=25",
        ),
        Column(
            "created_by_agent",
            "boolean",
            "Made by the AI agent rather than by hand.",
            sample="choice false false true",
        ),
        Column(
            "created_at",
            "timestamptz",
            "Made.",
            sample="between owner_id.created_at owner_id.last_seen_at",
            past=True,
        ),
        Column(
            "updated_at",
            "timestamptz",
            "Last changed.",
            sample="between created_at owner_id.last_seen_at",
            past=True,
        ),
    ),
    key=("playlist_id",),
    foreign_keys=(ForeignKey(("owner_id",), "users", ("user_id",)),),
    orders=(Order("created_at", "updated_at"),),
    volume=Volume(share=0.03, least=6),
)
