"""Whether a tenant's newest chain is whole: cheaply, as an alarm that is asked for often.

Here: opening every backup of the chain, looking for every file of it, asking the journal whether it goes on.
Not here: reading the files (`verifying.py`), restoring them (`executing.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tenant_ops.backups import catalog
from tenant_ops.backups.drills.recovery import read_standings
from tenant_ops.backups.journal import health
from tenant_ops.backups.layout import Member
from tenant_ops.backups.reading import Archive
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.tenants import Fleet, Tenant


@dataclass(frozen=True)
class ChainCheck:
    """What a look at the newest chain found.

    Attributes:
        backup_id: Its end; None for a tenant without a backup.
        links: Backups in it.
        members: Files in them that were looked for.
        problems: Why it, or a newer one, cannot be restored.
        journal: Whether it was taken with a journal to go on from.
        interruptions: Why no incremental can go on from it: the next backup will be a full one.
    """

    tenant: str
    backup_id: str | None
    links: int
    members: int
    problems: tuple[str, ...]
    journal: bool
    interruptions: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        """Whether an incremental can be trusted to go on from it."""
        return self.journal and not self.problems and not self.interruptions

    @property
    def whole(self) -> bool:
        """Whether it can be opened from end to end and nothing newer is broken."""
        return not self.problems


def check_chain(fleet: Fleet, tenant: Tenant) -> ChainCheck:
    """Open the tenant's newest chain with its keys and look for every file of it; nothing else is read.

    Keys, headers, manifests and their hashes are checked; files are there and as long as they must be. What
    is in them is the business of `verify_backup`.
    """
    (standing,) = read_standings(fleet, [tenant], fleet.clock())
    problems = [f"backup {backup_id} cannot be restored." for backup_id in standing.unsound]
    archive = None
    if standing.newest:
        try:
            archive = catalog.open_backup(fleet, catalog.find_backup(fleet, standing.newest))
            problems += [problem for link in archive.chain() for problem in _missing(link)]
        except TenantOpsError as error:
            problems.append(str(error))
    chain = archive.chain() if archive else ()
    return ChainCheck(
        tenant=tenant.slug,
        backup_id=standing.newest,
        links=len(chain),
        members=sum(1 for link in chain for _ in _own(link)),
        problems=tuple(problems),
        journal=standing.journal,
        interruptions=health(fleet, tenant).problems if standing.journal else (),
    )


def _missing(link: Archive) -> Iterator[str]:
    for member in _own(link):
        size = link.container.size(member.path)
        if size != member.stored_bytes:
            said = "is not there" if size is None else f"has {size} bytes, not {member.stored_bytes}"
            yield f"backup {link.id}: {member.path} {said}."


def _own(link: Archive) -> Iterator[Member]:
    return (member for member in link.manifest.members if member.origin is None)
