"""Validation at depth: what samples of tables showed, so that unchanged ones are not read again."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SURVEYS = """
-- One row per tenant: by table, the state of its rows that was sampled and which columns seemed to hold what.
CREATE TABLE tenant_ops.value_survey (
    tenant_id       uuid PRIMARY KEY REFERENCES tenant_ops.tenant,
    tables          jsonb NOT NULL,
    surveyed_at     timestamptz NOT NULL
);
"""

SECTIONS = (SURVEYS,)
TABLES = ("value_survey",)


def upgrade() -> None:
    """Create every table."""
    for section in SECTIONS:
        op.execute(section)


def downgrade() -> None:
    """Drop them."""
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE tenant_ops.{table}")
