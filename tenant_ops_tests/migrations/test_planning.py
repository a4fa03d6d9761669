"""Plans: the way from version to version, the same for everybody, refused when it cannot be right."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest

from tenant_ops.datasets import MUSIC
from tenant_ops.migrations import SHIPPED, MigrationPlan, load_releases, plan_migration
from tenant_ops.migrations.planning import newest
from tenant_ops.migrations.versions import order
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops_tests.migrations.conftest import Write
from tenant_ops_tests.validation.conftest import fleet_of_its_own


@pytest.fixture(scope="module")
def fleet(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose only tenant is planned for and never migrated."""
    with fleet_of_its_own(postgres_url, tmp_path_factory.mktemp("planning")) as fleet:
        provision(fleet, "acme")
        yield fleet


@pytest.fixture(scope="module")
def tenant(fleet: Fleet) -> Tenant:
    return fleet.registry.get("acme")


def names(plan: MigrationPlan) -> list[str]:
    return [f"{step.release}/{step.name} {step.direction}" for step in plan.steps]


def test_the_shipped_releases_end_where_new_tenants_start(fleet: Fleet) -> None:
    assert newest(fleet, load_releases(SHIPPED)) == MUSIC.version


def test_a_tenant_at_the_newest_release_has_nothing_to_do(fleet: Fleet, tenant: Tenant) -> None:
    plan = plan_migration(fleet, tenant)
    assert (plan.steps, plan.message) == ((), "acme is at 1.0.0, the newest release; nothing to do.")


def test_the_way_up_goes_through_every_release_between(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    plan = plan_migration(fleet, tenant, to_version="2.0.0", folder=releases)
    assert names(plan) == [
        "1.1.0/010_track_mood up",
        "1.1.0/020_venues up",
        "1.2.0/010_one_title_per_owner up",
        "2.0.0/010_drop_genre up",
    ]
    assert plan.message == "acme would go up from 1.0.0 to 2.0.0 in 4 steps."
    assert plan.warnings == (
        "2.0.0/010_drop_genre is breaking. Readers of artists.genre must use tracks.mood.",
    )


def test_without_a_goal_the_plan_leads_to_the_newest(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    plan = plan_migration(fleet, tenant, folder=releases)
    assert (plan.from_version, plan.to_version) == ("1.0.0", "2.1.0")
    assert plan.warnings[-1] == "2.1.0/010_forget cannot be undone but by restoring a backup."


def test_the_way_down_is_the_way_up_backwards(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    plan = plan_migration(fleet, replace(tenant, version="2.0.0"), to_version="1.0.0", folder=releases)
    assert names(plan) == [
        "2.0.0/010_drop_genre down",
        "1.2.0/010_one_title_per_owner down",
        "1.1.0/020_venues down",
        "1.1.0/010_track_mood down",
    ]
    assert plan.needs_backup
    assert plan.warnings == ("2.0.0/010_drop_genre loses data going down.",)


def test_the_hash_is_of_what_would_run_and_of_nothing_else(
    fleet: Fleet, tenant: Tenant, releases: Path, own_releases: Path
) -> None:
    def plan(folder: Path) -> MigrationPlan:
        return plan_migration(fleet, tenant, to_version="1.1.0", folder=folder)

    assert plan(releases).hash == plan(own_releases).hash
    file = own_releases / "1.1.0/010_track_mood/up.sql"
    file.write_text(file.read_text().replace("calm", "mild"))
    assert plan(releases).hash != plan(own_releases).hash


def test_line_ends_of_a_checkout_do_not_change_a_checksum(releases: Path, own_releases: Path) -> None:
    for path in own_releases.rglob("*.*l"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [step.checksum for one in load_releases(own_releases) for step in one.steps] == [
        step.checksum for one in load_releases(releases) for step in one.steps
    ]


def test_the_plan_is_a_printable_document(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    document = as_document(plan_migration(fleet, tenant, to_version="1.1.0", folder=releases))
    assert document["steps"][0]["name"] == "010_track_mood"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to_version": "3.0.0"}, r"there is no version 3\.0\.0\. Versions: 1\.0\.0, 1\.1\.0, .*2\.1\.0"),
        ({"to_version": "newest"}, "'newest' is not a version"),
        ({"to_version": "1.1"}, "'1.1' is not a version"),
        ({"from_version": "1.1.0"}, r"tenant acme: it is at 1\.0\.0, not at 1\.1\.0"),
    ],
)
def test_versions_that_do_not_fit_are_refused(
    fleet: Fleet, tenant: Tenant, releases: Path, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plan_migration(fleet, tenant, folder=releases, **arguments)  # pyright: ignore[reportArgumentType]


def test_a_gap_is_refused(fleet: Fleet, tenant: Tenant, own_releases: Path) -> None:
    rmtree(own_releases / "1.2.0")
    with pytest.raises(InputError, match=r"no release leads from 1\.1\.0 towards 2\.0\.0"):
        plan_migration(fleet, tenant, to_version="2.0.0", folder=own_releases)


def test_a_step_without_a_way_back_stops_the_way_down(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    with pytest.raises(InputError, match=r"2\.1\.0/010_forget cannot be undone"):
        plan_migration(fleet, replace(tenant, version="2.1.0"), to_version="1.0.0", folder=releases)


def test_two_ways_out_of_one_version_are_refused(own_releases: Path) -> None:
    (own_releases / "1.2.0").rename(own_releases / "1.3.0")
    file = own_releases / "2.0.0/010_drop_genre/migration.yaml"
    file.write_text(file.read_text().replace("1.2.0", "1.1.0"))
    with pytest.raises(InputError, match=r"releases 1\.3\.0 and 2\.0\.0 both start from 1\.1\.0"):
        load_releases(own_releases)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"about": "description: x\n"}, "migration.yaml: it does not say which version"),
        ({"about": "from: [1\nx"}, r"migration.yaml:\d: this is not YAML"),
        ({"about": 'from: "1.0.0"\nlocks: x\n'}, "'locks' has no meaning here"),
        ({"about": 'from: "1.0.0"\nlock_timeout_ms: true\n'}, "lock_timeout_ms is not of type int"),
        ({"about": 'from: "1.0.0"\nbreaking: true\n'}, "it is breaking and has no mitigation"),
        ({"about": 'from: "1.0.0"\nreversible: maybe\n'}, "reversible is 'maybe'"),
        ({"about": 'from: "1.1.0"\n'}, r"it starts from 1\.1\.0, which is not a lower version"),
        ({"up": None}, r"up\.sql is missing"),
        ({"down": None}, r"down\.sql is missing"),
        ({"resolve": "SELECT 1"}, r"resolve\.sql is of no use without precheck\.sql"),
        ({"dwon": "SELECT 1"}, r"dwon\.sql: this file has no meaning here"),
        ({"verify": "SELECT 1;\nCOMMIT"}, r"verify\.sql:2: COMMIT may not be used"),
        ({"name": "first"}, "folders named like 010_track_mood"),
        ({"version": "v1"}, "'v1' is not a version"),
    ],
)
def test_a_release_that_is_not_as_it_should_be_is_named(
    write_step: Write, step: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_releases(write_step(**step))


def test_versions_are_compared_as_numbers() -> None:
    assert order("1.10.0") > order("1.9.9") > order("1.9.0")
