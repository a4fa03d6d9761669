"""Dataset `content`."""

from tenant_ops.datasets.definition import (
    Between,
    Column,
    Dataset,
    ForeignKey,
    Length,
    Matches,
    OneOf,
    Order,
    Volume,
)

DATASET = Dataset(
    name="content",
    description="Texts the tenant publishes: articles, notes, podcast pages.",
    columns=(
        Column("content_id", "uuid", "Content id."),
        Column(
            "author_id",
            "uuid",
            "Writer; empty when the account is gone.",
            nullable=True,
            sample="pick skewed within=0.95 null=0.05",
        ),
        Column(
            "track_id", "uuid", "Track it is about, if any.", nullable=True, sample="pick skewed null=0.5"
        ),
        Column(
            "kind",
            "text",
            "Form.",
            rules=(OneOf(("article", "review", "podcast", "note")),),
            sample="weighted article=40 review=35 podcast=10 note=15",
        ),
        Column("title", "text", "Title.", rules=(Length(1, 300),), sample="title"),
        Column("body", "text", "Text.", nullable=True, sample="prose 2 6 null=0.05"),
        Column(
            "language",
            "text",
            "BCP 47 tag.",
            rules=(Matches(r"[a-z]{2}(-[A-Z]{2})?"),),
            sample="choice en en en de fr es pt-BR en-GB",
        ),
        Column(
            "status",
            "text",
            "Life cycle.",
            rules=(OneOf(("draft", "published", "archived")),),
            sample="weighted published=70 draft=20 archived=10",
        ),
        Column("word_count", "integer", "Words in the body.", rules=(Between(0),), sample="words_in body"),
        Column("created_at", "timestamptz", "Written.", sample="between author_id.created_at end", past=True),
        Column(
            "published_at",
            "timestamptz",
            "Made public.",
            nullable=True,
            sample="between created_at end null=status:draft",
        ),
    ),
    key=("content_id",),
    foreign_keys=(
        ForeignKey(("author_id",), "users", ("user_id",), on_delete="set null"),
        ForeignKey(("track_id",), "tracks", ("track_id",), on_delete="set null"),
    ),
    orders=(Order("created_at", "published_at"),),
    volume=Volume(share=0.01, least=8),
)
