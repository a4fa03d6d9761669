"""`tenant-ops backup list`, `verify`, `compare`, `rebuild`: which backups there are, and what is in them.

Here: their flags and how chains are printed. Not here: taking and restoring (`backups.py`), keeping
(`backup_retention.py`).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import FAILED, FINDINGS, AsJson, TenantIds, chosen_tenants, open_fleet
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

if TYPE_CHECKING:
    from tenant_ops.backups import BackupRecord, ChainView
    from tenant_ops.tenants import Fleet, Tenant

app = typer.Typer()

LISTED = (
    "id",
    "tenant",
    "type",
    "taken_at",
    "rows",
    "raw_bytes",
    "stored_bytes",
    "encrypted",
    "verified_at",
    "state",
)
TREE = ("backup", "type", "age", "changes", "stored_bytes", "verified", "state")
VERIFIED = ("tenant", "backup_id", "level", "sound", "chain", "members", "rows", "stored_bytes", "seconds")
REBUILT = ("stores", "found", "added", "forgotten")
COMPARED = ("table", "rows_left", "rows_right", "equal", "added", "removed", "changed")


@app.command("list")
def list_all(
    tenant_id: TenantIds = "all",
    tree: Annotated[
        bool, typer.Option("--tree", help="By chain: each backup below the one it builds on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List backups, newest first."""
    from tenant_ops.backups import chains, list_backups

    with open_fleet() as fleet:
        tenants = [None] if tenant_id == "all" else chosen_tenants(fleet, tenant_id)
        found = [backup for tenant in tenants for backup in list_backups(fleet, tenant)]
        now = fleet.clock()
    if as_json:
        print_json(chains(found) if tree else found)
    elif not found:
        STDERR.print("no backups yet; take one with: tenant-ops backup --tenant-id <id>")
    elif tree:
        for chain in chains(found):
            print_table(_tree(chain, now), TREE, title=_title(chain))
    else:
        rows = [{**as_document(backup), "state": _state(backup)} for backup in found]
        print_table(rows, LISTED, title=f"{len(found)} backups")


@app.command("verify")
def verify(
    backup: Annotated[str | None, typer.Argument(help="Backup id, path or URL.")] = None,
    tenant_id: Annotated[
        str | None, typer.Option("--tenant-id", help="Every backup of these tenants instead.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every backup of the catalog instead.")] = False,
    level: Annotated[
        str, typer.Option(help="full opens and hashes all content; quick compares hashes of the files.")
    ] = "full",
    as_json: AsJson = False,
) -> None:
    """Read backups back with all they build on: open, decrypt, decompress and hash every file."""
    from tenant_ops.backups import find_backup, list_backups, verify_backups

    if sum((backup is not None, tenant_id is not None, everything)) != 1:
        raise InputError("say what to verify: a backup, --tenant-id, or --all.", where="backup verify")
    with open_fleet() as fleet:
        if backup is not None:
            chosen = [find_backup(fleet, backup)]
        else:
            tenants = chosen_tenants(fleet, tenant_id) if tenant_id else [None]
            chosen = [found for tenant in tenants for found in list_backups(fleet, tenant)]
        verdicts = verify_backups(fleet, chosen, level=level)
    if as_json:
        print_json(verdicts[0] if backup is not None else verdicts)
    else:
        rows = [{**as_document(verdict), "chain": len(verdict.chain)} for verdict in verdicts]
        print_table(rows, VERIFIED, title="backup verify")
        for verdict in verdicts:
            for problem in verdict.problems:
                STDERR.print(f"{verdict.backup_id}: {problem}", style="red", markup=False, highlight=False)
    if not all(verdict.sound for verdict in verdicts):
        raise typer.Exit(FAILED)


@app.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help="Tenant id, or backup id, path or URL.")],
    second: Annotated[str, typer.Argument(help="The same; `added` is what only this one has.")],
    rows: Annotated[
        bool, typer.Option("--rows", help="Count rows added, removed and changed, by primary key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare tenants or backups: schema, rows by content hash, files; exit code 3 when they differ."""
    from tenant_ops.backups import compare as compare_sides

    with open_fleet() as fleet:
        result = compare_sides(fleet, _side(fleet, first), _side(fleet, second), rows=rows)
    if as_json:
        print_json(result)
    else:
        document = as_document(result)
        shown = [name for name in COMPARED if any(row[name] is not None for row in document["tables"])]
        print_table(document["tables"], shown, title="equal" if result.equal else "different")
        for name in ("schema", "files"):
            if document[name]:
                columns = [key for key in document[name][0] if key not in ("left", "right")]
                print_table(document[name], columns, title=f"{name} that differs")
        if result.unknown and not rows:
            STDERR.print(
                f"rows of {', '.join(result.unknown)} are not known; add --rows to put them together."
            )
    if not result.equal:
        raise typer.Exit(FINDINGS)


@app.command("rebuild")
def rebuild(
    store: Annotated[
        list[str] | None,
        typer.Option(help="Path or URL; several times for several. All that are known when left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the catalog again from the stores alone, for instance after losing the database."""
    from tenant_ops.backups import rebuild as rebuild_catalog

    with open_fleet() as fleet:
        report = rebuild_catalog(fleet, tuple(store or ()))
    if as_json:
        print_json(report)
        return
    print_table([as_document(report)], REBUILT, title="backup rebuild")
    problems = [*report.unreadable, *report.broken]
    problems += [f"{where}: nothing is there; what the catalog says of it stays." for where in report.empty]
    problems += [f"{backup}: pinned or held, but gone." for backup in report.missing]
    for problem in problems:
        STDERR.print(problem, style="yellow", markup=False, highlight=False)


def _side(fleet: "Fleet", name: str) -> "Tenant | BackupRecord":
    """A tenant of that name, else a backup: no id of a backup could be a tenant's."""
    from tenant_ops.backups import UnknownBackup, find_backup

    tenants = fleet.registry.find([name])
    try:
        return tenants[0] if tenants else find_backup(fleet, name)
    except UnknownBackup:
        raise InputError(
            f"there is neither a tenant nor a backup {name!r}.",
            fix="See `tenant-ops tenant list` and `tenant-ops backup list`.",
        ) from None


def _title(chain: "ChainView") -> str:
    where = f"in {chain.links[0].backup.store}"
    if chain.covers_from is None:
        return f"{chain.tenant}: nothing of this chain can be restored, {where}"
    if chain.covers_from == chain.covers_to:
        return f"{chain.tenant}: restores to {chain.covers_from}, {where}"
    how = "any moment" if chain.continuous else "these moments"
    return f"{chain.tenant}: restores to {how} from {chain.covers_from} to {chain.covers_to}, {where}"


def _tree(chain: "ChainView", now: datetime) -> Iterator[dict[str, Any]]:
    store = chain.links[0].backup.store
    for link in chain.links:
        backup = link.backup
        yield {
            "backup": "  " * link.level + backup.id,
            "type": backup.type,
            "age": _age(now - datetime.fromisoformat(backup.taken_at)),
            "changes": backup.changes if backup.parent else None,
            "stored_bytes": backup.stored_bytes,
            "verified": f"{backup.verified_level} {backup.verified_at[:10]}" if backup.verified_at else None,
            "state": _state(backup, link.problem, None if backup.store == store else backup.store),
        }


def _state(backup: "BackupRecord", problem: str | None = None, store: str | None = None) -> str:
    """What an operator must know of it."""
    said: Sequence[str | None] = (
        problem,
        "damaged" if backup.damage and problem is None else None,
        None if backup.present or problem else "missing",
        "being removed" if backup.removing_at else None,
        "held" if backup.legal_hold else None,
        "pinned" if backup.pinned else None,
        "in the fallback store" if backup.fallback else None,
        f"in {store}" if store else None,
    )
    return ", ".join(word for word in said if word)


def _age(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"
