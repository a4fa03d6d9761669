"""An operation inside a run: find the tenant, do it, store the report under the run's id.

Here: what every step does around its domain function. Not here: the loop over tenants (`batch.py`).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import dagster as dg

from tenant_ops.audit import Outcome, save_report
from tenant_ops.platform.logs import bind
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, State, Tenant

R = TypeVar("R")


Context = dg.AssetExecutionContext | dg.OpExecutionContext


def operation(
    context: Context,
    fleet: Fleet,
    name: str,
    work: Callable[[Tenant], R],
    *,
    states: tuple[State, ...] = (State.ACTIVE,),
    found: Callable[[R], bool] = lambda _: False,
) -> Callable[[str], R]:
    """`work` for a slug: refused unless the tenant is in one of `states`, its report stored whatever happens.

    Args:
        context: The step's; its run's id is stored with the report.
        fleet: Where the tenant is.
        name: The operation, as reports are listed by.
        work: The domain function.
        states: States in which the operation makes sense.
        found: Whether a report holds findings an operator should look at.
    """

    def perform(slug: str) -> R:
        return stored(
            context, fleet, name, slug, lambda: work(fleet.registry.get(slug).require(*states)), found
        )

    return perform


def stored(
    context: Context,
    fleet: Fleet,
    name: str,
    slug: str,
    work: Callable[[], R],
    found: Callable[[R], bool] = lambda _: False,
) -> R:
    """Do the work and store its report, or the reason it failed, for the tenant of that slug."""
    started, run_id = fleet.clock(), context.run.run_id
    with bind(tenant=slug, run_id=run_id, operation=name):
        try:
            report = work()
        except Exception as error:
            _store(fleet, slug, name, run_id, {"error": str(error)}, "failed", started)
            raise
        _store(fleet, slug, name, run_id, report, "findings" if found(report) else "done", started)
        return report


def _store(
    fleet: Fleet, slug: str, name: str, run_id: str, report: Any, outcome: Outcome, started: datetime
) -> None:
    tenant = next(iter(fleet.registry.find([slug])), None)
    with fleet.control.transaction() as connection:
        save_report(
            connection,
            operation=name,
            report={"tenant": slug} | as_document(report),
            outcome=outcome,
            started_at=started,
            finished_at=fleet.clock(),
            tenant_id=tenant.id if tenant else None,
            run_id=run_id,
        )
