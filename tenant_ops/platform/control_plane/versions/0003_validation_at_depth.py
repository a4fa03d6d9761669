"""Validation at depth: findings over time, and what samples of tables showed, not to be read again."""

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

FINDINGS = """
-- One row per problem of a tenant, from when it is first seen on; resolved ones are kept for a while.
CREATE TABLE tenant_ops.finding (
    tenant_id       uuid NOT NULL REFERENCES tenant_ops.tenant,
    key             text NOT NULL,
    rule            text NOT NULL,
    level           text NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('critical', 'error', 'warning', 'info')),
    dataset         text,
    subject         text NOT NULL,
    message         text NOT NULL,
    count           bigint NOT NULL,
    first_seen_at   timestamptz NOT NULL,
    since           timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    resolved_at     timestamptz,
    reopened        integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, key),
    CHECK (first_seen_at <= since AND since <= last_seen_at)
);
-- A decision that findings do not count; without a tenant it is for all of them.
CREATE TABLE tenant_ops.finding_mute (
    mute_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       uuid REFERENCES tenant_ops.tenant,
    pattern         text NOT NULL,
    reason          text NOT NULL,
    muted_by        text NOT NULL,
    muted_at        timestamptz NOT NULL,
    until           timestamptz,
    lifted_at       timestamptz,
    lifted_by       text
);
CREATE INDEX finding_mute_tenant ON tenant_ops.finding_mute (tenant_id) WHERE lifted_at IS NULL;
"""

PROFILES = """
-- What a tenant's data looked like on a day, by dataset: counts, means and times, no personal data.
CREATE TABLE tenant_ops.data_profile (
    tenant_id       uuid NOT NULL REFERENCES tenant_ops.tenant,
    taken_at        timestamptz NOT NULL,
    datasets        jsonb NOT NULL,
    PRIMARY KEY (tenant_id, taken_at)
);
"""

POSITIONS = """
-- Where a tenant's journal stood when its data was last validated, and which rules it kept then.
CREATE TABLE tenant_ops.validation_position (
    tenant_id       uuid PRIMARY KEY REFERENCES tenant_ops.tenant,
    anchor          jsonb NOT NULL,
    kept            jsonb NOT NULL,
    validated_at    timestamptz NOT NULL
);
"""

SECTIONS = (SURVEYS, FINDINGS, PROFILES, POSITIONS)
TABLES = ("value_survey", "finding", "finding_mute", "data_profile", "validation_position")


def upgrade() -> None:
    """Create every table."""
    for section in SECTIONS:
        op.execute(section)


def downgrade() -> None:
    """Drop them."""
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE tenant_ops.{table}")
