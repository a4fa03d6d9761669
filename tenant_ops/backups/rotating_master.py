"""Giving the installation another master key: what the old one wraps is wrapped by the new one.

Here: the plan, carrying it out; what is done already is left alone, so running it again goes on.
Not here: another key for one tenant (`rotating.py`), finding the two master keys (`platform/keys.py`).

Both master keys are configured meanwhile, so whatever is met on the way opens. Only wrapped keys and sealed
credentials change; no backup is touched.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from uuid import UUID

from tenant_ops.audit import record as record_event
from tenant_ops.backups.key_files import KeyFolder, is_there, key_folders, known_stores
from tenant_ops.backups.keys import open_key_file, wrapped_key
from tenant_ops.backups.rotating import KeyProblem
from tenant_ops.platform.errors import InputError, TenantOpsError, UnknownTenant
from tenant_ops.platform.keys import MasterKey, find_master_key, find_previous_master_key
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.tenants.keys import live_keys, rewrap_tenant_key
from tenant_ops.tenants.provisioning import reseal_credentials


@dataclass(frozen=True)
class MasterRotationPlan:
    """What there is to do before the old master key can be put away.

    Attributes:
        old_master, new_master: Their ids.
        tenants: Tenants that have keys or credentials.
        tenant_keys: Tenant keys in the control plane that the old one wraps.
        key_files: Files beside backups that hold a key it wraps.
        credentials: Sealed credentials, all there are: what sealed one shows when it is opened.
        problems: What neither of the two wraps, or cannot be looked at.
    """

    old_master: str
    new_master: str
    tenants: int
    tenant_keys: int
    key_files: int
    credentials: int
    problems: tuple[KeyProblem, ...]


@dataclass(frozen=True)
class MasterRotationReport:
    """What was done; `finished` says that nothing known is wrapped by the old master key any more."""

    old_master: str
    new_master: str
    tenants: int
    tenant_keys: int
    key_files: int
    credentials: int
    finished: bool
    problems: tuple[KeyProblem, ...]
    seconds: float


def plan_master_rotation(fleet: Fleet) -> MasterRotationPlan:
    """Look at what the old master key still wraps; nothing is changed.

    Raises:
        InputError: the new or the old master key is missing.
    """
    old, new = _both(fleet)
    problems: list[KeyProblem] = []
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            "SELECT tenant_id, master_key_id FROM tenant_ops.tenant_key WHERE destroyed_at IS NULL"
        ).fetchall()
        credentials = connection.execute("SELECT count(*) FROM tenant_ops.credential").fetchone()
    for tenant_id, master_id in rows:
        if master_id not in (old.id, new.id):
            problems.append(KeyProblem(f"tenant {tenant_id}", f"master key {master_id} wraps its key"))
    files = 0
    for _, folder, key_id in _all_key_files(fleet, problems):
        files += _needs(folder, key_id, old, new, problems)
    return MasterRotationPlan(
        old_master=old.id,
        new_master=new.id,
        tenants=len(_tenant_ids(fleet)),
        tenant_keys=sum(master_id == old.id for _, master_id in rows),
        key_files=files,
        credentials=credentials[0] if credentials else 0,
        problems=tuple(problems),
    )


def execute_master_rotation(
    fleet: Fleet, plan: MasterRotationPlan, *, progress: Progress = SILENT
) -> MasterRotationReport:
    """Wrap with the new master key everything the old one wraps, tenant by tenant under its lock.

    Killed at any point, everything opens with the two keys, and running it again goes on. A tenant that is
    busy or fails is reported and left as it was; the others are done.

    Raises:
        InputError: the master keys are no longer those of the plan.
    """
    started = perf_counter()
    old, new = _both(fleet)
    if (old.id, new.id) != (plan.old_master, plan.new_master):
        raise InputError("the master keys changed since the plan.", where="master key", fix="Plan again.")
    problems: list[KeyProblem] = []
    counts: Counter[str] = Counter()
    tenant_ids = _tenant_ids(fleet)
    task = "rewrap keys of tenants"
    progress.start(task, total=len(tenant_ids))
    for tenant_id in tenant_ids:
        try:
            counts += _rotate_tenant(fleet, tenant_id, old, new, problems)
        except (OSError, TenantOpsError) as error:
            problems.append(KeyProblem(f"tenant {tenant_id}", str(error)))
        progress.advance(task, 1)
    progress.finish(task)
    left = plan_master_rotation(fleet)
    known = {problem.where for problem in problems}
    problems += [problem for problem in left.problems if problem.where not in known]
    finished = not (problems or left.tenant_keys or left.key_files)
    with fleet.control.transaction() as connection:
        record_event(
            connection,
            chain="keys",
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="key.master_rotated",
            detail={"old": old.id, "new": new.id, "finished": finished, **counts},
        )
    return MasterRotationReport(
        old_master=old.id,
        new_master=new.id,
        tenants=len(tenant_ids),
        tenant_keys=counts["tenant_keys"],
        key_files=counts["key_files"],
        credentials=counts["credentials"],
        finished=finished,
        problems=tuple(problems),
        seconds=round(perf_counter() - started, 4),
    )


def _both(fleet: Fleet) -> tuple[MasterKey, MasterKey]:
    new, old = find_master_key(fleet.settings), find_previous_master_key(fleet.settings)
    if new is None or old is None:
        raise InputError(
            "the master key to go to and the one to leave must both be configured, and differ.",
            where="master key",
            fix="Set BACKUP_ENCRYPTION_KEY (or _FILE, or BACKUP_KEY_SERVICE) to the new one, and the same "
            "with _PREVIOUS to the old one.",
        )
    return old, new


def _tenant_ids(fleet: Fleet) -> tuple[UUID, ...]:
    """Who has keys or credentials in the control plane, or keys beside backups."""
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            """
            SELECT tenant_id FROM tenant_ops.tenant_key WHERE destroyed_at IS NULL
            UNION SELECT tenant_id FROM tenant_ops.credential
            """
        ).fetchall()
    ids = {row[0] for row in rows}
    ids |= {UUID(tenant_id) for tenant_id, _, _ in _all_key_files(fleet, [])}
    return tuple(sorted(ids))


def _rotate_tenant(
    fleet: Fleet, tenant_id: UUID, old: MasterKey, new: MasterKey, problems: list[KeyProblem]
) -> Counter[str]:
    tenant = _known(fleet, tenant_id)
    counts: Counter[str] = Counter()
    # Nothing works on a tenant that only its backups remember.
    with fleet.lock(tenant, "rotate-keys") if tenant else nullcontext():
        with fleet.control.transaction() as connection:
            for key in live_keys(connection, tenant_id):
                if key.master_key_id == old.id:
                    rewrap_tenant_key(connection, key, old, new)
                    counts["tenant_keys"] += 1
            counts["credentials"] = reseal_credentials(connection, tenant_id, old, new)
        for folder in filter(lambda each: is_there(each.store), key_folders(fleet, tenant_id)):
            for key_id in folder.tenant_key_ids():
                if _needs(folder, key_id, old, new, problems):
                    _rewrap_file(fleet, folder, key_id, new)
                    counts["key_files"] += 1
    return counts


def _rewrap_file(fleet: Fleet, folder: KeyFolder, key_id: str, new: MasterKey) -> None:
    record = folder.tenant_key(key_id)
    assert record is not None
    key = open_key_file(fleet, record, folder.where)
    made = wrapped_key(new, record.tenant_id, key)
    if open_key_file(fleet, made, folder.where) != key:
        raise InputError("what the new master key wraps does not open.", where=folder.where)
    folder.put_tenant_key(made)


def _needs(
    folder: KeyFolder, key_id: str, old: MasterKey, new: MasterKey, problems: list[KeyProblem]
) -> bool:
    """Whether the old master key wraps this file; what neither wraps is a problem."""
    where = f"{folder.where}/keys/{key_id}.json"
    try:
        record = folder.tenant_key(key_id)
    except (OSError, TenantOpsError) as error:
        problems.append(KeyProblem(where, str(error)))
        return False
    if record is not None and record.master_key_id not in (old.id, new.id):
        problems.append(KeyProblem(where, f"master key {record.master_key_id} wraps it"))
    return record is not None and record.master_key_id == old.id


def _all_key_files(fleet: Fleet, problems: list[KeyProblem]) -> Iterator[tuple[str, KeyFolder, str]]:
    for store in known_stores(fleet):
        if not is_there(store.where):
            problems.append(KeyProblem(store.where, "the store is not there"))
            continue
        for tenant_id in store.tenants():
            folder = KeyFolder(store.folder(tenant_id))
            for key_id in folder.tenant_key_ids():
                yield tenant_id, folder, key_id


def _known(fleet: Fleet, tenant_id: UUID) -> Tenant | None:
    try:
        return fleet.registry.by_id(tenant_id)
    except UnknownTenant:
        return None
