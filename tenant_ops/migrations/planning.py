"""Which steps bring a tenant from its version to another: looked up, checked, and summed up by a hash.

Here: `plan_migration` and its refusals. Not here: reading releases (`releases.py`), running them
(`running.py`).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenant_ops.migrations.history import applied_checksums
from tenant_ops.migrations.releases import SHIPPED, Release, Reversible, Step, load_releases
from tenant_ops.migrations.versions import order
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import dumps
from tenant_ops.tenants import Fleet, Tenant

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class PlannedStep:
    """One step in the order it would run; see `Step` for its fields."""

    release: str
    name: str
    direction: Direction
    description: str
    reversible: Reversible
    breaking: bool
    mitigation: str
    checksum: str


@dataclass(frozen=True)
class MigrationPlan:
    """What would bring a tenant to another version.

    Attributes:
        from_version: Where the tenant is.
        to_version: Where it would be.
        steps: In the order they would run; none when there is nothing to do.
        warnings: What to know before going: breaking steps, data that would be lost.
        needs_backup: Whether it loses data, so that it is only run with a safety copy.
        auto_resolve: Whether declared resolutions of conflicts are applied.
        folder: Where the releases are.
        hash: Equal for equal plans, on any machine; other steps, other contents or another order change it.
        message: The plan in one sentence.
    """

    tenant: str
    tenant_id: str
    from_version: str
    to_version: str
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...]
    needs_backup: bool
    auto_resolve: bool
    folder: Path
    hash: str
    message: str


def plan_migration(
    fleet: Fleet,
    tenant: Tenant,
    from_version: str | None = None,
    to_version: str | None = None,
    *,
    auto_resolve: bool = False,
    folder: Path = SHIPPED,
) -> MigrationPlan:
    """Look at what would bring the tenant to another version, changing nothing.

    Args:
        fleet: The fleet.
        tenant: Which tenant.
        from_version: The version it must be at; None: wherever it is.
        to_version: Where to; None: the newest.
        auto_resolve: Apply the resolutions that steps declare for conflicts their precheck finds.
        folder: Where the releases are.

    Raises:
        InputError: the tenant is at another version, a version is unknown, no chain of releases leads there,
            a step on the way down cannot be undone, or a step was edited after it was applied.
    """
    releases = load_releases(folder)
    here = _current(tenant, from_version)
    there = newest(fleet, releases) if to_version is None else to_version
    _check_known(fleet, releases, here, there)
    _check_unedited(fleet, tenant, releases)
    going_up = order(there) >= order(here)
    low, high = (here, there) if going_up else (there, here)
    chain = _chain(releases, low, high)
    steps = tuple(_steps(chain, "up" if going_up else "down"))
    for step in steps:
        if step.direction == "down" and step.reversible == "none":
            raise InputError(
                f"{step.release}/{step.name} cannot be undone.",
                where=f"tenant {tenant.slug}",
                fix="Restore a backup taken before it.",
            )
    return MigrationPlan(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        from_version=here,
        to_version=there,
        steps=steps,
        warnings=tuple(_warnings(steps)),
        needs_backup=any(step.direction == "down" and step.reversible == "lossy" for step in steps),
        auto_resolve=auto_resolve,
        folder=folder,
        hash=_hash(tenant, here, there, steps, auto_resolve),
        message=_message(tenant, here, there, steps, newest(fleet, releases)),
    )


def newest(fleet: Fleet, releases: tuple[Release, ...]) -> str:
    """The highest version there is: of the releases, or of the datasets new tenants are made from."""
    return max((fleet.catalog.version, *(release.version for release in releases)), key=order)


def _current(tenant: Tenant, expected: str | None) -> str:
    where = f"tenant {tenant.slug}"
    if tenant.version is None:
        raise InputError("it has no version yet.", where=where, fix="Provision it first.")
    if expected is not None:
        order(expected, where="from version")
        if expected != tenant.version:
            raise InputError(f"it is at {tenant.version}, not at {expected}.", where=where)
    return tenant.version


def _check_known(fleet: Fleet, releases: tuple[Release, ...], *versions: str) -> None:
    known = {fleet.catalog.version}
    known |= {version for release in releases for version in (release.version, release.starts_from)}
    for version in versions:
        order(version)
        if version not in known:
            raise InputError(
                f"there is no version {version}.", fix=f"Versions: {', '.join(sorted(known, key=order))}."
            )


def _check_unedited(fleet: Fleet, tenant: Tenant, releases: tuple[Release, ...]) -> None:
    applied = applied_checksums(fleet, tenant)
    for release in releases:
        if release.version not in applied:
            continue
        now = {step.name: step.checksum for step in release.steps}
        then = applied[release.version]
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        if changed:
            raise InputError(
                f"{release.version}/{changed[0]} was edited after it was applied.",
                where=f"tenant {tenant.slug}",
                fix="Bring the files back as they were, and put the change into a new step.",
            )


def _chain(releases: tuple[Release, ...], low: str, high: str) -> tuple[Release, ...]:
    """The releases that lead from `low` to `high`: each starts where the one before it ends."""
    following = {release.starts_from: release for release in releases}
    chain: list[Release] = []
    place = low
    while place != high:
        release = following.get(place)
        if release is None or order(release.version) > order(high):
            raise InputError(
                f"no release leads from {place} towards {high}.", fix="A release between them is missing."
            )
        chain.append(release)
        place = release.version
    return tuple(chain)


def _steps(chain: tuple[Release, ...], direction: Direction) -> list[PlannedStep]:
    steps = [_planned(release, step, direction) for release in chain for step in release.steps]
    return steps if direction == "up" else steps[::-1]


def _planned(release: Release, step: Step, direction: Direction) -> PlannedStep:
    return PlannedStep(
        release=release.version,
        name=step.name,
        direction=direction,
        description=step.description,
        reversible=step.reversible,
        breaking=step.breaking,
        mitigation=step.mitigation,
        checksum=step.checksum,
    )


def _warnings(steps: tuple[PlannedStep, ...]) -> list[str]:
    warnings: list[str] = []
    for step in steps:
        name = f"{step.release}/{step.name}"
        if step.direction == "up" and step.breaking:
            warnings.append(f"{name} is breaking. {step.mitigation}")
        if step.direction == "up" and step.reversible == "none":
            warnings.append(f"{name} cannot be undone but by restoring a backup.")
        if step.direction == "down" and step.reversible == "lossy":
            warnings.append(f"{name} loses data going down.")
    return warnings


def _message(tenant: Tenant, here: str, there: str, steps: tuple[PlannedStep, ...], newest: str) -> str:
    if steps:
        count = f"{len(steps)} {'step' if len(steps) == 1 else 'steps'}"
        return f"{tenant.slug} would go {steps[0].direction} from {here} to {there} in {count}."
    which = "the newest release" if here == newest else "where it should be"
    return f"{tenant.slug} is at {here}, {which}; nothing to do."


def _hash(tenant: Tenant, here: str, there: str, steps: tuple[PlannedStep, ...], auto_resolve: bool) -> str:
    named = [(step.release, step.name, step.direction, step.checksum) for step in steps]
    return hashlib.sha256(dumps([str(tenant.id), here, there, auto_resolve, named])).hexdigest()
