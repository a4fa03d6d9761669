"""An operation inside a run: find the tenant, do it, store the report under the run's id.

Here: what every step does around its domain function. Not here: the loop over tenants (`batch.py`).
"""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

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
        tenant = fleet.registry.get(slug)
        return stored(
            context, fleet, name, slug, lambda: work(tenant.require(*states)), found, tenant_id=tenant.id
        )

    return perform


def stored(
    context: Context,
    fleet: Fleet,
    name: str,
    slug: str,
    work: Callable[[], R],
    found: Callable[[R], bool] = lambda _: False,
    *,
    tenant_id: UUID | None = None,
) -> R:
    """Do the work and store its report, or the reason it failed, for the tenant of that slug.

    Args:
        context: The step's.
        fleet: Where reports are stored.
        name: The operation.
        slug: The tenant's, which the work may make.
        work: The domain function.
        found: Whether a report holds findings.
        tenant_id: The tenant's, where it is known beforehand.
    """
    started, run_id = fleet.clock(), context.run.run_id

    def store(report: Any, outcome: Outcome) -> None:
        made = () if tenant_id else fleet.registry.find([slug])
        with fleet.control.transaction() as connection:
            save_report(
                connection,
                operation=name,
                report={"tenant": slug} | as_document(report),
                outcome=outcome,
                started_at=started,
                finished_at=fleet.clock(),
                tenant_id=tenant_id or (made[0].id if made else None),
                run_id=run_id,
            )

    with bind(tenant=slug, run_id=run_id, operation=name):
        try:
            report = work()
        except Exception as error:
            store({"error": str(error), "exit_code": getattr(error, "exit_code", 1)}, "failed")
            raise
        store(report, "findings" if found(report) else "done")
        return report
