"""What pg_dump says of a tenant's schema, object by object, to compare two tenants by."""

import re
import subprocess
from pathlib import Path

from tenant_ops.tenants import Fleet, Tenant

_ENTRY = re.compile(r"^-- (?:Data for )?Name: (.*); Type: (.*); Schema: .*$")


def dumped(fleet: Fleet, tenant: Tenant, programs: Path) -> dict[str, list[str]]:
    """The lines pg_dump writes of each object and each table's rows, without the tenant's own names.

    Rights and rows are sorted: they come in the order they were given, which is not part of what they are.
    """
    command = [str(programs / "pg_dump"), "--schema", tenant.schema_name, fleet.database(tenant).url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries: dict[str, list[str]] = {}
    lines: list[str] = []
    kind = ""
    for line in text.replace(tenant.key, "key").splitlines():
        found = _ENTRY.match(line)
        if found:
            kind = found[2]
            lines = entries.setdefault(f"{kind} {found[1]}", [])
        elif kind and line.strip() not in ("", "--") and not line.startswith(("SET default", "\\unrestrict")):
            lines.append(line)
    for name, body in entries.items():
        if name.startswith(("ACL", "DEFAULT ACL", "TABLE DATA")):
            body.sort()
    return entries
