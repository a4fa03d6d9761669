"""Giving a tenant another key: the headers of its backups are wrapped anew, their data is not touched.

Here: the plan, carrying it out, going on where it was cut off. Not here: another master key
(`rotating_master.py`), the files (`key_files.py`), the keys themselves (`tenants/keys.py`).

The order is what makes it safe to kill at any point: the old key retires and the new one lies beside every
backup before any header refers to it; a header is replaced by a rename, after the new one was opened; the old
key is destroyed only when no backup anybody knows of refers to it. At every moment every backup opens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from uuid import UUID

from tenant_ops.audit import record as record_event
from tenant_ops.backups.archive import TenantKey, key_block
from tenant_ops.backups.containers import Container
from tenant_ops.backups.key_files import KeyFolder, is_there, key_folders
from tenant_ops.backups.keys import wrapped_key
from tenant_ops.backups.layout import Header, KeyBlock
from tenant_ops.backups.reading import read_header, read_key_block, unwrap
from tenant_ops.platform.errors import InputError, OperationFailed, TenantOpsError
from tenant_ops.platform.keys import find_master_key
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.tenants.keys import destroy_retired_keys, live_keys, open_key, replace_tenant_key


@dataclass(frozen=True)
class KeyProblem:
    """Something a rotation could not see or change, and why: while there is one, the old key is kept."""

    where: str
    problem: str


@dataclass(frozen=True)
class RotationPlan:
    """What giving a tenant another key would do.

    Attributes:
        tenant: Whose.
        tenant_id: Its id.
        current_key: The key in force; it stays when the plan goes on with a rotation that was cut off.
        retiring_keys: Keys of earlier rotations that were not finished.
        backups: Sealed backups that were found.
        to_rewrap: Those whose header is to be wrapped anew.
        stores: Where they were looked for.
        problems: What keeps an old key from being destroyed.
    """

    tenant: str
    tenant_id: str
    current_key: str
    retiring_keys: tuple[str, ...]
    backups: int
    to_rewrap: int
    stores: tuple[str, ...]
    problems: tuple[KeyProblem, ...]


@dataclass(frozen=True)
class RotationReport:
    """What was done.

    Attributes:
        tenant: Whose.
        tenant_id: Its id.
        old_keys: The keys that were replaced.
        new_key: The key in force now.
        backups: Sealed backups that were found.
        rewrapped: How many headers this run wrapped anew.
        destroyed: Whether the old keys are gone; if not, `problems` says why, and another run goes on.
        problems: What could not be seen or changed.
        seconds: How long it took.
    """

    tenant: str
    tenant_id: str
    old_keys: tuple[str, ...]
    new_key: str
    backups: int
    rewrapped: int
    destroyed: bool
    problems: tuple[KeyProblem, ...]
    seconds: float


@dataclass(frozen=True)
class _Sealed:
    folder: KeyFolder
    container: Container
    header: Header
    block: KeyBlock


def plan_rotation(fleet: Fleet, tenant: Tenant) -> RotationPlan:
    """Look at what giving the tenant another key would do; nothing is changed.

    Raises:
        InputError: it has no key, or no master key at hand opens it.
        OperationFailed: the key service is not there.
    """
    current, retiring = _keys(fleet, tenant)
    found, problems = _find_backups(fleet, tenant)
    # Without an earlier rotation to finish, it is the current key that is to be replaced.
    replaced = set(retiring) or {current.id}
    problems += _unknown_keys(found, {current.id, *retiring})
    return RotationPlan(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        current_key=current.id,
        retiring_keys=tuple(retiring),
        backups=len(found),
        to_rewrap=sum(each.block.tenant_key_id in replaced for each in found),
        stores=tuple(folder.store for folder in key_folders(fleet, tenant.id)),
        problems=tuple(problems),
    )


def execute_rotation(fleet: Fleet, plan: RotationPlan, *, progress: Progress = SILENT) -> RotationReport:
    """Give the tenant another key, or finish what an earlier run began.

    Killed at any point, every backup still opens, and running it again goes on.

    Args:
        fleet: The fleet.
        plan: Made by `plan_rotation`.
        progress: Told of each header.

    Raises:
        InputError: the tenant's keys are no longer those of the plan.
        TenantBusy: another operation holds the tenant.
        OperationFailed: a header does not open with what was written; it was left as it was.
    """
    started = perf_counter()
    tenant = fleet.registry.get(plan.tenant)
    with fleet.lock(tenant, "rotate-keys"):
        current, retiring = _keys(fleet, tenant)
        if (current.id, tuple(retiring)) != (plan.current_key, plan.retiring_keys):
            raise InputError(
                "its keys changed since the plan.", where=f"tenant {tenant.slug}", fix="Plan again."
            )
        if not retiring:
            _begin(fleet, tenant)
            current, retiring = _keys(fleet, tenant)
        _put_beside(fleet, tenant, current)
        found, problems = _find_backups(fleet, tenant)
        problems += _unknown_keys(found, {current.id, *retiring})
        rewrapped = _rewrap(fleet, found, current, retiring, problems, progress)
        if not problems:
            _destroy(fleet, tenant, current.id, tuple(retiring), len(found))
    return RotationReport(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        old_keys=tuple(retiring),
        new_key=current.id,
        backups=len(found),
        rewrapped=rewrapped,
        destroyed=not problems,
        problems=tuple(problems),
        seconds=round(perf_counter() - started, 4),
    )


def _keys(fleet: Fleet, tenant: Tenant) -> tuple[TenantKey, dict[str, TenantKey]]:
    """The current key, and those that retire."""
    with fleet.control.transaction() as connection:
        live = live_keys(connection, tenant.id)
    where = f"tenant {tenant.slug}"
    opened = {str(key.id): TenantKey(str(key.id), open_key(fleet.settings, key, where=where)) for key in live}
    current = [str(key.id) for key in live if not key.retiring]
    if not current:
        raise InputError("it has no encryption key.", where=where, fix="Its first sealed backup makes one.")
    return opened.pop(current[0]), opened


def _begin(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        old, new = replace_tenant_key(connection, fleet.settings, tenant, fleet.clock())
        record_event(
            connection,
            chain=str(tenant.id),
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="key.rotation_begun",
            detail={"old": old, "new": new},
        )


def _put_beside(fleet: Fleet, tenant: Tenant, key: TenantKey) -> None:
    master = find_master_key(fleet.settings)
    assert master is not None  # it has just opened the tenant's keys
    record = wrapped_key(master, str(tenant.id), key)
    for folder in key_folders(fleet, tenant.id):
        # A store that is away is a problem that is found next; nothing of it will refer to the key.
        if is_there(folder.store) and folder.backups():
            there = folder.tenant_key(key.id)
            if there is None or there.master_key_id != master.id:
                folder.put_tenant_key(record)


def _find_backups(fleet: Fleet, tenant: Tenant) -> tuple[list[_Sealed], list[KeyProblem]]:
    """Every sealed backup of the tenant in every store, and whatever may be one and cannot be looked into."""
    found: list[_Sealed] = []
    problems: list[KeyProblem] = []
    for folder in key_folders(fleet, tenant.id):
        if not is_there(folder.store):
            problems.append(KeyProblem(folder.store, "the store is not there"))
            continue
        for container in folder.backups():
            try:
                found += _sealed(folder, container)
            except (OSError, TenantOpsError) as error:
                problems.append(KeyProblem(container.where, str(error)))
    return found, problems + _missing(fleet, tenant, {each.container.where for each in found})


def _sealed(folder: KeyFolder, container: Container) -> Iterator[_Sealed]:
    header = read_header(container)
    if header.cipher is not None:
        yield _Sealed(folder, container, header, read_key_block(container))


def _missing(fleet: Fleet, tenant: Tenant, seen: set[str]) -> list[KeyProblem]:
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            """
            SELECT id, path FROM tenant_ops.backup
            WHERE tenant_id = %s AND encrypted AND removing_at IS NULL ORDER BY id
            """,
            (tenant.id,),
        ).fetchall()
    said = "the catalog knows it, but it was not found; bring it back, or run: tenant-ops backup rebuild"
    return [KeyProblem(path, f"{backup_id}: {said}") for backup_id, path in rows if path not in seen]


def _unknown_keys(found: list[_Sealed], known: set[str]) -> list[KeyProblem]:
    return [
        KeyProblem(each.container.where, f"its key {each.block.tenant_key_id} is not known")
        for each in found
        if each.block.tenant_key_id not in known
    ]


def _rewrap(
    fleet: Fleet,
    found: list[_Sealed],
    new: TenantKey,
    old: Mapping[str, TenantKey],
    problems: list[KeyProblem],
    progress: Progress,
) -> int:
    todo = [each for each in found if each.block.tenant_key_id in old]
    done: list[str] = []
    task = "rewrap keys of backups"
    progress.start(task, total=len(todo))
    try:
        for each in todo:
            try:
                _rewrap_one(each, old[each.block.tenant_key_id], new)
            except (OSError, TenantOpsError) as error:
                problems.append(KeyProblem(each.container.where, str(error)))
            else:
                done.append(each.header.backup_id)
                progress.advance(task, 1)
    finally:
        progress.finish(task)
        with fleet.control.transaction() as connection:
            connection.execute(
                "UPDATE tenant_ops.backup SET key_id = %s WHERE id = ANY(%s)",
                (UUID(new.id), [each.header.backup_id for each in found if _refers_to(each, new)] + done),
            )
    return len(done)


def _refers_to(each: _Sealed, key: TenantKey) -> bool:
    return each.block.tenant_key_id == key.id


def _rewrap_one(each: _Sealed, old: TenantKey, new: TenantKey) -> None:
    secret = unwrap(each.header, each.block, old)
    block = key_block(each.header, new, secret)
    if unwrap(each.header, block, new) != secret:
        raise OperationFailed("the new header does not open; the old one stays.", where=each.container.where)
    each.folder.put_key_block(each.container, block)
    if read_key_block(each.container) != block:
        raise OperationFailed("what was written is not what is read back.", where=each.container.where)


def _destroy(fleet: Fleet, tenant: Tenant, new: str, old: tuple[str, ...], backups: int) -> None:
    """The files first: cut off in between, the control plane still knows of something to finish."""
    for folder in key_folders(fleet, tenant.id):
        folder.sweep()
        for key_id in old:
            folder.drop_tenant_key(key_id)
    with fleet.control.transaction() as connection:
        destroy_retired_keys(connection, tenant.id, fleet.clock())
        record_event(
            connection,
            chain=str(tenant.id),
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="key.rotated",
            detail={"old": list(old), "new": new, "backups": backups},
        )
