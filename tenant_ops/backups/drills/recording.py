"""Drills in the control plane, table `tenant_ops.drill`.

Here: writing them down. Not here: reading them beside the catalog (`recovery.py`).
"""

from psycopg.types.json import Jsonb

from tenant_ops.audit import record as record_event
from tenant_ops.backups.drills.reports import Drill
from tenant_ops.platform.reports import as_document, dumps
from tenant_ops.tenants import Fleet

_COLUMNS = ("tenant_id", "tenant", "tier", "backup_id", "started_at", "rpo_s", "rto_s", "rows", "equal")


def record_drill(fleet: Fleet, drill: Drill) -> None:
    """Keep a drill, and tell the tenant's audit log how it ended."""
    document = as_document(drill)
    detail = {name: value for name, value in document.items() if name not in _COLUMNS}
    with fleet.control.transaction() as connection:
        connection.execute(
            """
            INSERT INTO tenant_ops.drill
                (tenant_id, tenant_slug, tier, backup_id, started_at, rpo_s, rto_s, rows, equal, detail)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (*(document[name] for name in _COLUMNS), Jsonb(detail, dumps=dumps)),
        )
        record_event(
            connection,
            chain=drill.tenant_id,
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="backup.drilled",
            detail={"backup": drill.backup_id, "equal": drill.equal, "problems": list(drill.problems)},
        )
