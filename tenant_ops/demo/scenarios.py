"""The scenarios behind `tenant-ops demo`: real jobs on real tenants, every claim checked.

Here: what is done and how it is proved. Not here: how it is shown (`cli/showing.py`), what the jobs do.

A step that does not hold is reported as failed and the scenario goes on where that makes sense; nothing is
assumed from an exit code when the database can be asked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from tenant_ops.audit import StoredReport, verify_chain
from tenant_ops.backups import compare
from tenant_ops.orchestration.launch import Launched, run_job
from tenant_ops.platform.errors import InputError, TenantOpsError
from tenant_ops.tenants import TIERS, Fleet

NAMES = ("acme", "globex", "initech")


@dataclass(frozen=True)
class Step:
    """One step of a scenario: what was done, whether it held, the figures worth reading."""

    name: str
    ok: bool
    figures: dict[str, Any]
    seconds: float


Scenario = Callable[[Fleet, int], Iterator[Step]]


def full_demo(fleet: Fleet, tenant_count: int) -> Iterator[Step]:
    """Provision a tenant of each tier, load, validate, back up, restore one under another id, compare."""
    slugs = _slugs(tenant_count)
    yield from _provision(fleet, slugs)
    started = perf_counter()
    pipeline = run_job(fleet, "tenant_pipeline", tenants=list(slugs), command="tenant-ops load-fixtures")
    yield from _pipeline_steps(pipeline, slugs, perf_counter() - started)
    source = list(slugs)[min(2, len(slugs) - 1)]
    yield from _restore_and_compare(fleet, pipeline, source, f"{source}_restored")
    yield _audit(fleet, [*slugs, f"{source}_restored"])


def complete_workflow(fleet: Fleet, tenant_count: int) -> Iterator[Step]:
    """The full demo, then a whole life: suspend, resume, change tier, clean up, migrate, offboard."""
    yield from full_demo(fleet, tenant_count)
    slug = f"{list(_slugs(tenant_count))[min(2, tenant_count - 1)]}_restored"
    yield _job(fleet, "suspend a tenant", "change_tenant", _change(slug, "SUSPEND"))
    yield _job(fleet, "resume it", "change_tenant", _change(slug, "RESUME"))
    yield _job(fleet, "change its tier", "change_tenant", _change(slug, "CHANGE_TIER", tier="enterprise"))
    execute = {"execute": True}
    yield _job(fleet, "clean up", "cleanup", {"ops": {"cleanup_report": {"config": execute}}}, [slug])
    yield _job(fleet, "migrate", "migrate", {"ops": {"schema_version": {"config": execute}}}, [slug])
    yield _job(fleet, "look at its health", "monitor", {}, [slug])
    yield _job(fleet, "offboard it", "change_tenant", _change(slug, "OFFBOARD", execute=True))
    gone = not fleet.registry.find([slug])
    yield Step("the offboarded tenant is gone", gone, {"tenant": slug}, 0.0)


def performance_benchmark(fleet: Fleet, tenant_count: int) -> Iterator[Step]:
    """Time each operation over many small tenants; for ratios against other tools run `make bench`."""
    slugs = {f"bench_{number:04d}": tier for number, tier in enumerate(_tiers(tenant_count))}
    yield from _provision(fleet, slugs)
    for name, job in (("load", "load_fixtures"), ("validate", "validate_data"), ("back up", "backup")):
        started = perf_counter()
        launched = run_job(fleet, job, tenants=list(slugs))
        seconds = perf_counter() - started
        each = round(seconds / len(slugs) * 1000, 1)
        yield Step(f"{name} {len(slugs)} tenants", launched.success, {"ms per tenant": each}, seconds)


def integration_tests(fleet: Fleet, tenant_count: int) -> Iterator[Step]:
    """The complete workflow, and the refusals a user should meet: each a sentence, nothing changed."""
    yield from complete_workflow(fleet, tenant_count)
    before = fleet.registry.slugs()
    yield _refused("an unknown tenant", lambda: fleet.registry.get("no_such_tenant"))
    yield _refused("a slug that is SQL", lambda: fleet.registry.register('x"; DROP SCHEMA tenant_ops'))
    yield _refused("an unknown tier", lambda: fleet.registry.register("fine_name", tier_name="gold"))
    yield Step("refusals changed nothing", fleet.registry.slugs() == before, {}, 0.0)


SCENARIOS: dict[str, Scenario] = {
    "full-demo": full_demo,
    "complete-workflow": complete_workflow,
    "performance-benchmark": performance_benchmark,
    "integration-tests": integration_tests,
}


def scenario(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        InputError: there is none.
    """
    if name not in SCENARIOS:
        raise InputError(f"there is no scenario {name!r}.", fix=f"Choose one of: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


def _tiers(count: int) -> list[str]:
    return [list(TIERS)[number % len(TIERS)] for number in range(count)]


def _slugs(count: int) -> dict[str, str]:
    names = [*NAMES, *(f"tenant_{number:03d}" for number in range(len(NAMES) + 1, count + 1))]
    return dict(zip(names[:count], _tiers(count), strict=True))


def _provision(fleet: Fleet, slugs: dict[str, str]) -> Iterator[Step]:
    for tier in dict.fromkeys(slugs.values()):
        chosen = [slug for slug, its_tier in slugs.items() if its_tier == tier]
        config = {"tenants": chosen, "tier": tier, "admin_email": f"ops@{tier}.example"}
        started = perf_counter()
        launched = run_job(fleet, "init_tenant", config={"ops": {"make_tenants": {"config": config}}})
        made = sum(bool(report.body.get("created")) for report in launched.reports)
        figures = {"tenants": ", ".join(chosen[:5]), "tier": tier, "created": made}
        yield Step("provision", launched.success, figures, perf_counter() - started)


def _pipeline_steps(launched: Launched, slugs: dict[str, str], seconds: float) -> Iterator[Step]:
    """One step per tenant and operation, from the reports the run stored."""
    yield Step(
        "run the main job", launched.success, {"run": launched.run_ids[0][:8], "tenants": len(slugs)}, seconds
    )
    for slug in slugs:
        mine = [report for report in launched.reports if report.body.get("tenant") == slug]
        merged = _of(mine, "merge")
        figures = {
            name: sum(report.body.get(name, 0) for report in merged)
            for name in ("inserted", "updated", "unchanged", "quarantined")
        }
        yield Step(f"{slug}: load", _held(merged), figures, _spent(merged))
        checked = _of(mine, "validate")
        scores = {"score": checked[0].body.get("score"), "findings": len(checked[0].body.get("findings", []))}
        yield Step(f"{slug}: validate", _held(checked), scores, _spent(checked))
        saved = _of(mine, "backup")
        archive = {name: saved[0].body.get(name) for name in ("rows", "stored_bytes", "encrypted")}
        yield Step(f"{slug}: back up", _held(saved), archive, _spent(saved))


def _restore_and_compare(fleet: Fleet, launched: Launched, source: str, target: str) -> Iterator[Step]:
    backups = [report for report in launched.reports if report.operation == "backup"]
    backup = next((report.body["backup_id"] for report in backups if report.body["tenant"] == source), None)
    if backup is None:
        yield Step(f"restore {source}", False, {"reason": "there is no backup of it"}, 0.0)
        return
    config = {"backup": backup, "tenant": target, "execute": True}
    step = _job(
        fleet, f"restore {source} as {target}", "restore", {"ops": {"restore_backup": {"config": config}}}
    )
    yield step
    if step.ok:
        started = perf_counter()
        result = compare(fleet, fleet.registry.get(source), fleet.registry.get(target))
        figures = {"tables": len(result.tables), "rows": result.rows}
        yield Step("the restored data is equal", result.equal, figures, perf_counter() - started)


def _audit(fleet: Fleet, slugs: list[str]) -> Step:
    started, events, intact = perf_counter(), 0, True
    for tenant in fleet.registry.find(slugs):
        with fleet.control.transaction() as connection:
            verdict = verify_chain(connection, str(tenant.id))
        events, intact = events + verdict.events, intact and verdict.intact
    return Step("the audit log is intact", intact, {"events": events}, perf_counter() - started)


def _job(fleet: Fleet, name: str, job: str, config: dict[str, Any], tenants: list[str] | None = None) -> Step:
    started = perf_counter()
    launched = run_job(fleet, job, tenants=tenants or [], config=config)
    figures: dict[str, Any] = {"run": launched.run_ids[0][:8]}
    if launched.errors:
        figures["reason"] = launched.errors[0]
    return Step(name, launched.success, figures, perf_counter() - started)


def _change(slug: str, change: str, **more: Any) -> dict[str, Any]:
    return {"ops": {"apply_change": {"config": {"tenant": slug, "change": change, **more}}}}


def _refused(name: str, attempt: Callable[[], Any]) -> Step:
    try:
        attempt()
    except TenantOpsError as error:
        return Step(f"refused: {name}", error.exit_code == 2, {"said": str(error)}, 0.0)
    return Step(f"refused: {name}", False, {"said": "nothing; it was accepted"}, 0.0)


def _of(reports: list[StoredReport], operation: str) -> list[StoredReport]:
    return [report for report in reports if report.operation == operation]


def _held(reports: list[StoredReport]) -> bool:
    return bool(reports) and all(report.outcome != "failed" for report in reports)


def _spent(reports: list[StoredReport]) -> float:
    return sum((report.finished_at - report.started_at).total_seconds() for report in reports)
