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
)

DATASET = Dataset(
    name="ai_sessions",
    description="Conversations of a user with the AI agent, with what they cost.",
    columns=(
        Column("ai_session_id", "uuid", "Conversation id."),
        Column("user_id", "uuid", "Who talked with the agent."),
        Column("session_id", "uuid", "Sign-in it happened in, if known.", nullable=True),
        Column("model", "text", "Model that answered.", rules=(Length(1, 80),)),
        Column(
            "purpose",
            "text",
            "What it was for.",
            rules=(OneOf(("recommend", "playlist", "search", "support")),),
        ),
        Column("total_tokens", "integer", "Tokens of all its messages.", rules=(Between(0),)),
        Column("cost_usd", "numeric", "What the model charged.", rules=(Between(0, 1_000),)),
        Column("rating", "integer", "The user's mark, 1 to 5.", nullable=True, rules=(Between(1, 5),)),
        Column("started_at", "timestamptz", "First message."),
        Column("ended_at", "timestamptz", "Last message.", nullable=True),
    ),
    key=("ai_session_id",),
    foreign_keys=(
        ForeignKey(("user_id",), "users", ("user_id",)),
        ForeignKey(("session_id",), "sessions", ("session_id",), on_delete="set null"),
    ),
    orders=(Order("started_at", "ended_at"),),
    retention=Retention("started_at", days=730),
)
