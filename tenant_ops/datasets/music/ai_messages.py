"""Dataset `ai_messages`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, OneOf, Retention

DATASET = Dataset(
    name="ai_messages",
    description="The messages of each AI conversation.",
    columns=(
        Column("ai_message_id", "uuid", "Message id."),
        Column("ai_session_id", "uuid", "Conversation."),
        Column("ordinal", "integer", "Place in the conversation, from 1.", rules=(Between(1),)),
        Column("author", "text", "Who spoke.", rules=(OneOf(("user", "assistant", "tool")),)),
        Column("body", "text", "What was said.", privacy="free_text"),
        Column("tokens", "integer", "Tokens counted by the model.", rules=(Between(0, 1_000_000),)),
        Column("sent_at", "timestamptz", "When."),
    ),
    key=("ai_message_id",),
    foreign_keys=(ForeignKey(("ai_session_id",), "ai_sessions", ("ai_session_id",)),),
    unique=(("ai_session_id", "ordinal"),),
    retention=Retention("sent_at", days=730),
)
