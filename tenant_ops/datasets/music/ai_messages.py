"""Dataset `ai_messages`."""

from tenant_ops.datasets.definition import Between, Column, Dataset, ForeignKey, OneOf, Retention, Volume

DATASET = Dataset(
    name="ai_messages",
    description="The messages of each AI conversation.",
    columns=(
        Column("ai_message_id", "uuid", "Message id."),
        Column("ai_session_id", "uuid", "Conversation.", sample="group"),
        Column(
            "ordinal",
            "integer",
            "Place in the conversation, from 1.",
            rules=(Between(1),),
            sample="ordinal ai_session_id",
        ),
        Column(
            "author",
            "text",
            "Who spoke.",
            rules=(OneOf(("user", "assistant", "tool")),),
            sample="cycle ordinal user assistant user tool assistant",
        ),
        Column("body", "text", "What was said.", privacy="free_text", sample="phrase author"),
        Column(
            "tokens",
            "integer",
            "Tokens counted by the model.",
            rules=(Between(0, 1_000_000),),
            sample="bell 6 480",
        ),
        Column(
            "sent_at",
            "timestamptz",
            "When.",
            sample="spread ai_session_id.started_at ai_session_id.ended_at ai_session_id",
            past=True,
        ),
    ),
    key=("ai_message_id",),
    foreign_keys=(ForeignKey(("ai_session_id",), "ai_sessions", ("ai_session_id",)),),
    unique=(("ai_session_id", "ordinal"),),
    retention=Retention("sent_at", days=730),
    volume=Volume(share=0.25, least=24),
)
