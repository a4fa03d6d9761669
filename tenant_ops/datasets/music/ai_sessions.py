"""Dataset `ai_sessions`."""

from tenant_ops.datasets.definition import (
    Between,
    Column,
    Dataset,
    ForeignKey,
    Length,
    OneOf,
    Order,
    Retention,
    Volume,
)

DATASET = Dataset(
    name="ai_sessions",
    description="Conversations of a user with the AI agent, with what they cost.",
    columns=(
        Column("ai_session_id", "uuid", "Conversation id."),
        Column("user_id", "uuid", "Who talked with the agent.", sample="through session_id"),
        Column(
            "session_id", "uuid", "Sign-in it happened in, if known.", nullable=True, sample="pick null=0.1"
        ),
        Column(
            "model",
            "text",
            "Model that answered.",
            rules=(Length(1, 80),),
            sample="choice muse-large muse-small muse-small muse-voice",
        ),
        Column(
            "purpose",
            "text",
            "What it was for.",
            rules=(OneOf(("recommend", "playlist", "search", "support")),),
            sample="weighted recommend=45 playlist=25 search=20 support=10",
        ),
        Column(
            "total_tokens",
            "integer",
            "Tokens of all its messages.",
            rules=(Between(0),),
            sample="total ai_messages.tokens",
        ),
        Column(
            "cost_usd",
            "numeric",
            "What the model charged.",
            rules=(Between(0, 1_000),),
            sample="times total_tokens 0.000015 scale=6",
        ),
        Column(
            "rating",
            "integer",
            "The user's mark, 1 to 5.",
            nullable=True,
            rules=(Between(1, 5),),
            sample="choice 1 2 3 4 4 5 5 5 null=0.6",
        ),
        Column(
            "started_at",
            "timestamptz",
            "First message.",
            sample="between session_id.started_at session_id.ended_at",
            past=True,
        ),
        Column(
            "ended_at",
            "timestamptz",
            "Last message.",
            nullable=True,
            sample="between started_at session_id.ended_at",
            past=True,
        ),
    ),
    key=("ai_session_id",),
    foreign_keys=(
        ForeignKey(("user_id",), "users", ("user_id",)),
        ForeignKey(("session_id",), "sessions", ("session_id",), on_delete="set null"),
    ),
    orders=(Order("started_at", "ended_at"),),
    retention=Retention("started_at", days=730),
    volume=Volume(share=0.05, least=6),
)
