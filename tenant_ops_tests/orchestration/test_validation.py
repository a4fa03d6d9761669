"""Validation in Dagster: verdicts per level and per dataset, and the page of the fleet, run for real."""

from collections.abc import Callable

import dagster as dg
import pytest

from tenant_ops.datasets import MUSIC
from tenant_ops.orchestration.location import build_defs
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import LEVELS

Run = Callable[..., dg.ExecuteInProcessResult]
Verdicts = dict[tuple[str | None, str], dg.AssetCheckEvaluation]


@pytest.fixture
def run(instance: dg.DagsterInstance, fleet: Fleet) -> Run:
    """Runs a job of the code location on this test's fleet."""
    defs = build_defs(open_fleet=lambda catalog: Fleet.open(fleet.settings, catalog=catalog))

    def execute(job: str, tenants: str = "", **config: object) -> dg.ExecuteInProcessResult:
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            tags={"dagster/partition": tenants} if tenants else {},
            run_config={"ops": {"validation_report": {"config": config}}} if config else {},
            raise_on_error=False,
        )

    return execute


def verdicts(result: dg.ExecuteInProcessResult) -> Verdicts:
    return {(one.partition, one.check_name): one for one in result.get_asset_check_evaluations()}


def spoil(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant, "owner") as connection:
        connection.execute("ALTER TABLE artists DROP COLUMN country CASCADE")


def test_every_level_and_every_dataset_has_a_verdict_of_its_own(
    run: Run, fleet: Fleet, new_tenant: Callable[..., Tenant]
) -> None:
    acme, _globex = new_tenant("acme"), new_tenant("globex")
    spoil(fleet, acme)
    found = verdicts(run("validate_data", "acme,globex"))
    assert {name for _, name in found} == {*LEVELS, *(f"dataset_{name}" for name in MUSIC.names)}
    failed = {key for key, verdict in found.items() if not verdict.passed}
    assert failed == {("acme", "schema"), ("acme", "dataset_artists")}
    verdict = found["acme", "dataset_artists"]
    assert verdict.severity == dg.AssetCheckSeverity.ERROR
    assert "country" in str(verdict.description)
    assert "country" in str(verdict.metadata["table"].value)


def test_a_dataset_no_asked_rule_is_about_passes_and_says_so(run: Run, tenant: Tenant) -> None:
    found = verdicts(run("validate_data", "acme", types=["performance"]))
    assert found["acme", "schema"].passed
    assert found["acme", "schema"].description == "not asked for in this run"
    assert found["acme", "performance"].description is None


def test_the_page_of_the_fleet_names_who_is_broken_and_who_was_forgotten(
    run: Run, fleet: Fleet, new_tenant: Callable[..., Tenant]
) -> None:
    acme = new_tenant("acme")
    new_tenant("globex")
    new_tenant("initech")
    spoil(fleet, acme)
    run("validate_data", "acme,globex")
    result = run("validation_overview")
    assert result.success, "a page about trouble is no trouble of its own"
    found = {name: verdict for (_, name), verdict in verdicts(result).items()}
    assert not found["no_tenant_left_failed"].passed
    assert str(found["no_tenant_left_failed"].description) == "acme: critical"
    assert found["no_tenant_stale"].description == "initech: never validated"
    (page,) = result.get_asset_materialization_events()
    shown = page.materialization.metadata
    assert (shown["tenants"].value, shown["left failed"].value, shown["stale"].value) == (3, 1, 1)
    rows = str(shown["worst first"].value).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["acme", "initech", "globex"]


def test_both_standing_checks_pass_once_everybody_was_validated_and_mended(run: Run, tenant: Tenant) -> None:
    run("validate_data", "acme")
    assert all(verdict.passed for verdict in verdicts(run("validation_overview")).values())


def test_an_empty_fleet_has_a_page_too(run: Run) -> None:
    result = run("validation_overview")
    assert result.success
    assert all(verdict.passed for verdict in verdicts(result).values())
