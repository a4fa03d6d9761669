"""The control plane: registry, credentials, audit log, backup catalog, reports.

Written as SQL: this is what stands in the database, and what an operator reads in psql.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TENANTS = """
CREATE TABLE tenant_ops.tenant (
    id              uuid PRIMARY KEY,
    key             text NOT NULL UNIQUE CHECK (key ~ '^[a-z0-9]{13}$'),
    slug            text NOT NULL CHECK (slug ~ '^[a-z][a-z0-9_]{1,47}$'),
    display_name    text NOT NULL,
    tier            text NOT NULL,
    state           text NOT NULL CHECK (state IN ('requested', 'provisioning', 'active', 'suspended',
                        'offboarding', 'erased', 'failed', 'quarantined')),
    state_reason    text,
    placement       text NOT NULL DEFAULT 'default',
    version         text,
    admin_email     text,
    config          jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    activated_at    timestamptz
);
-- A slug is free again only when the tenant that had it is gone for good.
CREATE UNIQUE INDEX tenant_slug_live ON tenant_ops.tenant (slug) WHERE state <> 'erased';
CREATE INDEX tenant_state ON tenant_ops.tenant (state);

CREATE TABLE tenant_ops.tenant_key (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant_ops.tenant,
    wrapped         bytea,
    master_key_id   text NOT NULL,
    created_at      timestamptz NOT NULL,
    destroyed_at    timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
CREATE UNIQUE INDEX tenant_key_current ON tenant_ops.tenant_key (tenant_id) WHERE destroyed_at IS NULL;

CREATE TABLE tenant_ops.credential (
    tenant_id       uuid NOT NULL REFERENCES tenant_ops.tenant,
    kind            text NOT NULL,
    username        text NOT NULL,
    sealed          bytea NOT NULL,
    key_id          uuid NOT NULL REFERENCES tenant_ops.tenant_key,
    created_at      timestamptz NOT NULL,
    rotate_at       timestamptz,
    PRIMARY KEY (tenant_id, kind)
);
"""

AUDIT = """
CREATE TABLE tenant_ops.audit_event (
    chain           text NOT NULL,
    seq             bigint NOT NULL,
    at              timestamptz NOT NULL,
    actor           text NOT NULL,
    action          text NOT NULL,
    run_id          text,
    detail          jsonb NOT NULL,
    previous        bytea NOT NULL,
    hash            bytea NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE TABLE tenant_ops.audit_head (
    chain           text PRIMARY KEY,
    seq             bigint NOT NULL,
    hash            bytea NOT NULL
);
"""

REPORTS = """
CREATE TABLE tenant_ops.report (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       uuid REFERENCES tenant_ops.tenant,
    operation       text NOT NULL,
    run_id          text,
    outcome         text NOT NULL CHECK (outcome IN ('done', 'findings', 'failed')),
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz NOT NULL,
    body            jsonb NOT NULL
);
CREATE INDEX report_run ON tenant_ops.report (run_id);
CREATE INDEX report_tenant ON tenant_ops.report (tenant_id, operation, finished_at DESC);
"""

BACKUPS = """
CREATE TABLE tenant_ops.backup (
    id              text PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    tenant_slug     text NOT NULL,
    type            text NOT NULL,
    parent          text,
    path            text NOT NULL,
    codec           text NOT NULL,
    encrypted       boolean NOT NULL,
    key_id          uuid,
    manifest_sha256 text NOT NULL,
    version         text,
    tables          integer NOT NULL,
    rows            bigint NOT NULL,
    raw_bytes       bigint NOT NULL,
    stored_bytes    bigint NOT NULL,
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz NOT NULL,
    verified_at     timestamptz,
    pinned          boolean NOT NULL DEFAULT false,
    reason          text
);
CREATE INDEX backup_tenant ON tenant_ops.backup (tenant_id, finished_at DESC);
"""

MONITORING = """
CREATE TABLE tenant_ops.sample (
    tenant_id       uuid NOT NULL REFERENCES tenant_ops.tenant,
    metric          text NOT NULL,
    at              timestamptz NOT NULL,
    value           double precision NOT NULL,
    PRIMARY KEY (tenant_id, metric, at)
);
CREATE INDEX sample_at ON tenant_ops.sample USING brin (at);

CREATE TABLE tenant_ops.alert (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       uuid REFERENCES tenant_ops.tenant,
    rule            text NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    message         text NOT NULL,
    value           double precision,
    opened_at       timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    resolved_at     timestamptz
);
CREATE UNIQUE INDEX alert_open ON tenant_ops.alert (tenant_id, rule) WHERE resolved_at IS NULL;
"""

CLEANUP = """
-- One row per trash table of a cleanup; they share its id.
CREATE TABLE tenant_ops.cleanup_undo (
    id              uuid NOT NULL,
    tenant_id       uuid NOT NULL REFERENCES tenant_ops.tenant,
    type            text NOT NULL,
    dataset         text NOT NULL,
    rows            bigint NOT NULL,
    place           text NOT NULL,
    made_at         timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    undone_at       timestamptz,
    purged_at       timestamptz,
    PRIMARY KEY (id, place)
);
CREATE INDEX cleanup_undo_tenant ON tenant_ops.cleanup_undo (tenant_id, made_at DESC);
"""

MIGRATIONS = """
-- One row per release and tenant, in the transaction that applied it; a failed attempt has a row of its own.
CREATE TABLE tenant_ops.migration_history (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id           uuid NOT NULL REFERENCES tenant_ops.tenant,
    release             text NOT NULL,
    direction           text NOT NULL CHECK (direction IN ('up', 'down')),
    steps               jsonb NOT NULL,
    outcome             text NOT NULL CHECK (outcome IN ('applied', 'failed')),
    reason              text NOT NULL DEFAULT '',
    plan_hash           text NOT NULL,
    fingerprint_before  text,
    fingerprint_after   text,
    started_at          timestamptz NOT NULL,
    finished_at         timestamptz NOT NULL
);
CREATE INDEX migration_history_tenant ON tenant_ops.migration_history (tenant_id, id);
"""

SECTIONS = (TENANTS, AUDIT, REPORTS, BACKUPS, MONITORING, CLEANUP, MIGRATIONS)


def upgrade() -> None:
    """Create every table."""
    for section in SECTIONS:
        op.execute(section)


def downgrade() -> None:
    """Drop every table; the schema and the version table stay."""
    for table in (
        "migration_history",
        "cleanup_undo",
        "alert",
        "sample",
        "backup",
        "report",
        "audit_head",
        "audit_event",
        "credential",
        "tenant_key",
        "tenant",
    ):
        op.execute(f"DROP TABLE tenant_ops.{table}")
