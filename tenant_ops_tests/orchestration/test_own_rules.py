"""Rules given to the code location are checked by the asset, and answered by its checks."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from tenant_ops.orchestration.location import build_defs
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Rule, Where
from tenant_ops_tests.validation.conftest import fill

NO_ARTIST = Rule("business.no_artist", "business", "error", "So.", "Do.", Where("true"), "artists")


def test_rules_of_the_code_location_run_in_the_asset(
    instance: dg.DagsterInstance, fleet: Fleet, new_tenant: Callable[..., Tenant], tmp_path: Path
) -> None:
    fill(fleet, new_tenant("acme", "enterprise"), tmp_path / "rows")
    defs = build_defs(
        rules=[NO_ARTIST], open_fleet=lambda catalog: Fleet.open(fleet.settings, catalog=catalog)
    )
    result = defs.resolve_job_def("validate_data").execute_in_process(
        instance=instance, tags={"dagster/partition": "acme"}, raise_on_error=False
    )
    verdict = next(e for e in result.get_asset_check_evaluations() if e.check_name == "business")
    assert not verdict.passed
    assert "business.no_artist" in str(verdict.metadata)
