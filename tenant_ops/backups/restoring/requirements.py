"""What stands in the way of a restore, and what it needs: found out before it begins.

Here: looking at the target's server and disks, what restores took so far. Not here: the plan (`planning.py`).
"""

import shutil
from collections.abc import Iterator
from statistics import median

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tenant_ops.backups.ddl import Statement
from tenant_ops.backups.ddl.outside import missing_needs
from tenant_ops.backups.ddl.rights import GRANT_OUTSIDE
from tenant_ops.backups.reading import Archive
from tenant_ops.platform.database import Database
from tenant_ops.tenants import Fleet, Tenant

# Rows as text take about as much room again as rows in pages, indexes half of it, the server's log all of it.
_ROOM = 2
_MEASURES = 5


def conflicts(fleet: Fleet, tenant: Tenant | None, archive: Archive) -> Iterator[str]:
    """What would make the restore fail on the target's server."""
    manifest = archive.manifest
    database = fleet.database(tenant) if tenant else fleet.control
    with database.transaction() as connection:
        have = {row[0] for row in connection.execute("SELECT extname FROM pg_extension")}
        can = {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions")}
        version = connection.info.server_version
        row = connection.execute("SHOW server_encoding").fetchone()
        lacking = tuple(missing_needs(connection, manifest.needs))
    missing = sorted(set(manifest.extensions) - have)
    if missing:
        there = [name for name in missing if name in can]
        how = f" (CREATE EXTENSION would do for {', '.join(there)})" if there else ""
        yield f"extensions the backup needs are not installed here: {', '.join(missing)}{how}"
    taken_on = int(manifest.server.get("version_num", 0))
    if taken_on // 10000 > version // 10000:
        yield f"the backup was taken on Postgres {taken_on // 10000}, this server is {version // 10000}"
    if lacking:
        yield f"the schema needs what is not in this database: {', '.join(lacking)}"
    encoding = manifest.server.get("encoding")
    if encoding and row and row[0] not in (encoding, "UTF8"):
        yield f"the backup is of a database in {encoding}, this one is in {row[0]}"


def missing_roles(fleet: Fleet, tenant: Tenant | None, statements: tuple[Statement, ...]) -> tuple[str, ...]:
    """Roles outside the tenant that have rights in the backup and do not exist here."""
    named = {statement.name for statement in statements if statement.kind == GRANT_OUTSIDE}
    if not named:
        return ()
    with (fleet.database(tenant) if tenant else fleet.control).transaction() as connection:
        have = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    return tuple(sorted(named - have))


def needed_room(archive: Archive, raw_bytes: int) -> int:
    """Bytes the database will need, roughly."""
    return _ROOM * (raw_bytes - archive.manifest.file_bytes)


def database_room(database: Database) -> int | None:
    """Bytes free where a server on this machine keeps its data; None when it is elsewhere or hidden."""
    host = str(conninfo_to_dict(database.url).get("host") or "")
    if not (host == "" or host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")):
        return None
    try:
        with database.transaction() as connection:
            row = connection.execute("SELECT current_setting('data_directory', true)").fetchone()
            server = f"/proc/{connection.info.backend_pid}/"
    except psycopg.Error:
        return None  # only some roles are told
    # The embedded server is started in its directory and knows it by no other name.
    folder = row[0].replace("/proc/self/", server) if row and row[0] else ""
    try:
        return shutil.disk_usage(folder).free if folder else None
    except OSError:
        return None  # another machine's, in spite of its address, or hidden


def files_room(fleet: Fleet) -> int:
    """Bytes free where the tenants' files lie."""
    home = next(p for p in (fleet.settings.home, *fleet.settings.home.parents) if p.is_dir())
    return shutil.disk_usage(home).free


def measured_speed(fleet: Fleet) -> float | None:
    """Bytes a second of the last restores and drills, the middle one; None before the first."""
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            """
            (SELECT (detail->>'bytes')::float8 / (detail->>'seconds')::float8
             FROM tenant_ops.audit_event
             WHERE action = 'backup.restored' AND (detail->>'seconds')::float8 > 0
               AND (detail->>'bytes')::float8 > 0
             ORDER BY at DESC LIMIT %(most)s)
            UNION ALL
            (SELECT (d.detail->>'mb_per_s')::float8 * 1e6 FROM tenant_ops.drill d
             WHERE d.equal AND (d.detail->>'mb_per_s')::float8 > 0
             ORDER BY d.started_at DESC LIMIT %(most)s)
            """,
            {"most": _MEASURES},
        ).fetchall()
    return median(row[0] for row in rows) if rows else None


def replaced_rows(fleet: Fleet, tenant: Tenant) -> int:
    """Rows of the target, as the server estimates them."""
    with fleet.database(tenant).transaction() as connection:
        row = connection.execute(
            """
            SELECT COALESCE(sum(c.reltuples) FILTER (WHERE c.reltuples > 0), 0)::bigint
            FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
            WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace(%s)::oid
              AND d.classid = 'pg_class'::regclass AND c.relkind = 'r'
            """,
            (tenant.schema_name,),
        ).fetchone()
    return row[0] if row else 0


def outside_readers(fleet: Fleet, tenant: Tenant) -> Iterator[str]:
    """Views elsewhere keep reading the replaced tables: they are bound to tables, not to names."""
    with fleet.database(tenant).transaction() as connection:
        rows = connection.execute(
            """
            SELECT DISTINCT v.oid::regclass::text
            FROM pg_depend s
            JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = s.objid
                            AND d.classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite r ON r.oid = d.objid
            JOIN pg_class v ON v.oid = r.ev_class
            WHERE s.refclassid = 'pg_namespace'::regclass AND s.refobjid = to_regnamespace(%(schema)s)::oid
              AND s.classid = 'pg_class'::regclass AND v.relnamespace <> to_regnamespace(%(schema)s)::oid
              AND v.relnamespace::regnamespace::text !~ %(aside)s
            """,
            {"schema": tenant.schema_name, "aside": f'^"?{tenant.schema_name}__'},
        ).fetchall()
    for (view,) in rows:
        yield f"the view {view} outside the tenant will go on reading the replaced tables."
