"""Backups at depth: chains, stores, holds and verification in the catalog; restore drills; keys that retire.

Only adds: what a catalog of revision 0001 holds is carried forward, and what follows from it is filled in.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CATALOG = """
ALTER TABLE tenant_ops.backup
    -- When the tenant was as the backup holds it, by the server's clock; retention goes by this.
    ADD COLUMN taken_at          timestamptz,
    -- The full backup its chain begins with, itself for a full one; how many lie between them.
    ADD COLUMN base_id           text,
    ADD COLUMN depth             integer NOT NULL DEFAULT 0 CHECK (depth >= 0),
    -- The directory or URL below which the tenants' folders lie; `path` is where this backup lies.
    ADD COLUMN store             text,
    ADD COLUMN format            text NOT NULL DEFAULT 'dir'
        CHECK (format IN ('dir', 'zip', 'tar', 'tar.gz', 'tar.zst')),
    -- It lies in the fallback store and waits to be carried to the one it was meant for.
    ADD COLUMN fallback          boolean NOT NULL DEFAULT false,
    -- What the next backup goes on from, and the moments its journal segment covers; null without a journal.
    ADD COLUMN anchor            jsonb,
    ADD COLUMN journal_from      timestamptz,
    ADD COLUMN journal_to        timestamptz,
    ADD COLUMN changes           bigint NOT NULL DEFAULT 0,
    -- Stored bytes of members that lie in earlier backups of its chain; `stored_bytes` are its own.
    ADD COLUMN referenced_bytes  bigint NOT NULL DEFAULT 0,
    ADD COLUMN verified_level    text CHECK (verified_level IN ('quick', 'full')),
    -- When reading it back failed last, and what was wrong first; null again once it verified.
    ADD COLUMN damaged_at        timestamptz,
    ADD COLUMN damage            text,
    ADD COLUMN legal_hold        text,
    ADD COLUMN held_by           text,
    ADD COLUMN held_at           timestamptz,
    -- Its removal began; it is no backup any more, and whoever finds it finishes.
    ADD COLUMN removing_at       timestamptz,
    ADD CHECK (removing_at IS NULL OR (NOT pinned AND legal_hold IS NULL)),
    ADD CHECK ((damaged_at IS NULL) = (damage IS NULL)),
    ADD CHECK (num_nulls(legal_hold, held_by, held_at) IN (0, 3));

-- Until now every backup was a full one in <store>/<tenant>/<id>, and only full checks were noted.
UPDATE tenant_ops.backup
SET taken_at = finished_at,
    base_id = id,
    store = regexp_replace(path, '/[^/]+/[^/]+/?$', ''),
    verified_level = CASE WHEN verified_at IS NOT NULL THEN 'full' END;

ALTER TABLE tenant_ops.backup
    ALTER COLUMN taken_at SET NOT NULL,
    ALTER COLUMN store SET NOT NULL,
    ADD CHECK ((verified_at IS NULL) = (verified_level IS NULL));

DROP INDEX tenant_ops.backup_tenant;
CREATE INDEX backup_tenant ON tenant_ops.backup (tenant_id, taken_at DESC, id DESC);
CREATE INDEX backup_parent ON tenant_ops.backup (parent) WHERE parent IS NOT NULL;
"""

DRILLS = """
-- One row per restore that was only tried: what would be lost (rpo) and how long it takes (rto), in seconds.
CREATE TABLE tenant_ops.drill (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    tenant_slug     text NOT NULL,
    tier            text NOT NULL,
    backup_id       text NOT NULL,
    started_at      timestamptz NOT NULL,
    rpo_s           double precision NOT NULL,
    rto_s           double precision NOT NULL,
    rows            bigint NOT NULL,
    equal           boolean NOT NULL,
    detail          jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX drill_tenant ON tenant_ops.drill (tenant_id, started_at DESC);
"""

KEYS = """
-- A key that retires still opens what it sealed; new things are sealed with the current one, of which each
-- tenant has at most one.
ALTER TABLE tenant_ops.tenant_key
    ADD COLUMN retiring_at timestamptz,
    -- What columns are hashed under, wrapped, once it no longer follows from the key: it outlives rotation.
    ADD COLUMN column_key  bytea,
    ADD CHECK (column_key IS NULL OR destroyed_at IS NULL);
DROP INDEX tenant_ops.tenant_key_current;
CREATE UNIQUE INDEX tenant_key_current ON tenant_ops.tenant_key (tenant_id)
    WHERE destroyed_at IS NULL AND retiring_at IS NULL;
"""

BACKUP_COLUMNS = (
    "taken_at",
    "base_id",
    "depth",
    "store",
    "format",
    "fallback",
    "anchor",
    "journal_from",
    "journal_to",
    "changes",
    "referenced_bytes",
    "verified_level",
    "damaged_at",
    "damage",
    "legal_hold",
    "held_by",
    "held_at",
    "removing_at",
)


def upgrade() -> None:
    """Add the columns, fill them for what is there, and make the table of drills."""
    for section in (CATALOG, DRILLS, KEYS):
        op.execute(section)


def downgrade() -> None:
    """Take them away again; refused by the server while a tenant has a key that retires."""
    op.execute("DROP INDEX tenant_ops.tenant_key_current")
    op.execute("ALTER TABLE tenant_ops.tenant_key DROP COLUMN retiring_at, DROP COLUMN column_key")
    op.execute(
        "CREATE UNIQUE INDEX tenant_key_current ON tenant_ops.tenant_key (tenant_id) "
        "WHERE destroyed_at IS NULL"
    )
    op.execute("DROP TABLE tenant_ops.drill")
    op.execute("DROP INDEX tenant_ops.backup_tenant, tenant_ops.backup_parent")
    op.execute("ALTER TABLE tenant_ops.backup " + ", ".join(f"DROP COLUMN {name}" for name in BACKUP_COLUMNS))
    op.execute("CREATE INDEX backup_tenant ON tenant_ops.backup (tenant_id, finished_at DESC)")
