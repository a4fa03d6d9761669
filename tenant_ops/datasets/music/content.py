"""Dataset `content`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, Length, Matches, OneOf, Order

DATASET = Dataset(
    name="content",
    description="Texts the tenant publishes: articles, notes, podcast pages.",
    columns=(
        Column("content_id", "uuid", "Content id."),
        Column("author_id", "uuid", "Writer; empty when the account is gone.", nullable=True),
        Column("track_id", "uuid", "Track it is about, if any.", nullable=True),
        Column("kind", "text", "Form.", rules=(OneOf(("article", "review", "podcast", "note")),)),
        Column("title", "text", "Title.", rules=(Length(1, 300),)),
        Column("body", "text", "Text.", nullable=True),
        Column("language", "text", "BCP 47 tag.", rules=(Matches(r"[a-z]{2}(-[A-Z]{2})?"),)),
        Column("status", "text", "Life cycle.", rules=(OneOf(("draft", "published", "archived")),)),
        Column("word_count", "integer", "Words in the body.", rules=(Between(0),)),
        Column("created_at", "timestamptz", "Written."),
        Column("published_at", "timestamptz", "Made public.", nullable=True),
    ),
    key=("content_id",),
    foreign_keys=(
        ForeignKey(("author_id",), "users", ("user_id",), on_delete="set null"),
        ForeignKey(("track_id",), "tracks", ("track_id",), on_delete="set null"),
    ),
    orders=(Order("created_at", "published_at"),),
)
