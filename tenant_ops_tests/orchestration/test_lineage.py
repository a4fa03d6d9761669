"""Column lineage, as Dagster keeps it for each tenant that was loaded."""

from pathlib import Path

import dagster as dg
import pytest

from tenant_ops.orchestration.location import build_defs
from tenant_ops.orchestration.partitions import TENANTS
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.gallery import GALLERY

FIXTURES, DATASETS = (dg.AssetKey([group, "pictures"]) for group in ("fixtures", "datasets"))
FILES = dg.AssetKey("fixture_files")


@pytest.fixture
def materialized(
    instance: dg.DagsterInstance, settings: Settings, tmp_path: Path
) -> dg.ExecuteInProcessResult:
    fleet = Fleet.open(settings, catalog=GALLERY)
    provision(fleet, "acme")
    fleet.close()
    instance.add_dynamic_partitions(str(TENANTS.name), ["acme"])
    (tmp_path / "artists.csv").write_text("id,name\n1,Ada\n")
    (tmp_path / "pictures.csv").write_text("house,number,painter,title,state,owner\nN,1,Ada,Sun,ok,Eve Roe\n")
    defs = build_defs(GALLERY, open_fleet=lambda catalog: Fleet.open(settings, catalog=catalog))
    keys = [dg.AssetKey([group, name]) for name in GALLERY.names for group in ("fixtures", "datasets")]
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=keys,
        partition_key="acme",
        run_config={"resources": {"load_options": {"config": {"source_path": str(tmp_path)}}}},
    )


def lineage_of(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, set[tuple[str, str]]]:
    event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    value = event.asset_materialization.metadata["dagster/column_lineage"].value
    assert isinstance(value, dg.TableColumnLineage)
    return {
        name: {(dep.asset_key.to_user_string(), dep.column_name) for dep in deps}
        for name, deps in value.deps_by_column.items()
    }


def test_columns_lead_through_transforms_to_files_and_to_what_was_looked_up(
    materialized: dg.ExecuteInProcessResult, instance: dg.DagsterInstance
) -> None:
    assert materialized.success
    staged = lineage_of(instance, FIXTURES)
    assert staged["id"] == {("fixture_files", "house"), ("fixture_files", "number")}
    assert staged["price"] == {("fixture_files", "Price")}
    assert staged["owner_first"] == staged["owner_initials"] == {("fixture_files", "owner")}
    assert staged["artist_id"] == {("fixture_files", "painter")}
    live = lineage_of(instance, DATASETS)
    assert live["price"] == {("fixtures/pictures", "price")}
    assert live["artist_id"] == {
        ("fixtures/pictures", "artist_id"),
        ("datasets/artists", "id"),
        ("datasets/artists", "name"),
    }
    assert set(live) == set(GALLERY["pictures"].column_names)
