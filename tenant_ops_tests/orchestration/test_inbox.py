"""Watch mode: what is put into a tenant's folder is loaded once, into that tenant, and moved away."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from tenant_ops.loading import inbox
from tenant_ops.orchestration.location import build_defs
from tenant_ops.orchestration.sensors import fixture_inbox
from tenant_ops.platform.settings import PACKAGE_ROOT, Settings
from tenant_ops.tenants import Fleet, Tenant, suspend

ARTISTS = "artist_id,name,genre,country,followers,created_at\n"
ADA = "00000000-0000-0000-0000-000000000001,Ada,,SE,1,2026-01-01T00:00:00Z\n"
TRACKS = "track_id,artist_id,title,duration_ms,explicit\n"
SONG = "00000000-0000-0000-0000-000000000002,00000000-0000-0000-0000-000000000001,Song,1000,false\n"


@dataclass
class Watch:
    """What Dagster's daemon does with the sensor, one step at a time, with a clock to turn."""

    instance: dg.DagsterInstance
    defs: dg.Definitions
    fleet: Fleet
    moment: datetime = datetime(2026, 7, 1, 12, tzinfo=UTC)
    cursor: str | None = None

    def put(self, tenant: str, name: str, text: str = ARTISTS + ADA) -> Path:
        path = self.folder(tenant) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def folder(self, tenant: str) -> Path:
        return self.fleet.settings.inbox_path / tenant

    def look(self) -> SensorExecutionData:
        """One tick whose outcome is not kept, as when the daemon dies after it."""
        context = dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=self.cursor,
            definitions=self.defs,
            resources={"fleet": replace(self.fleet, clock=lambda: self.moment)},
        )
        return fixture_inbox.evaluate_tick(context)

    def tick(self) -> SensorExecutionData:
        """One tick, 15 seconds after the one before."""
        outcome = self.look()
        self.cursor = outcome.cursor
        for added in outcome.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(added.partitions_def_name, added.partition_keys)
        self.moment += timedelta(seconds=15)
        return outcome

    def settle(self) -> list[dg.RunRequest]:
        """Ticks until what was put there stands still; what the last of them requests."""
        self.tick()
        return list(self.tick().run_requests or [])

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def("load_fixtures").execute_in_process(
            instance=self.instance,
            run_config=request.run_config,
            tags=dict(request.tags),
            asset_selection=list(request.asset_selection or []),
            raise_on_error=False,
        )

    def start(self, request: dg.RunRequest, retries: int = 0) -> dg.DagsterRun:
        """A run that has begun and never ends by itself."""
        return self.instance.create_run_for_job(
            job_def=self.defs.resolve_job_def("load_fixtures"),
            tags={**request.tags, "dagster/max_retries": str(retries)},
            status=dg.DagsterRunStatus.STARTED,
        )

    def found(self, tenant: str, outcome: str) -> dict[str, str]:
        """Every file the tenant finds in `done` or `failed`, by name."""
        return {path.name: path.read_text() for path in self.folder(tenant).glob(f"{outcome}/*/*/**/*.*")}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with an inbox of this test's own, in a folder whose name is also a pattern."""
    return replace(settings, inbox_path=tmp_path / "in [b]ox *")


@pytest.fixture
def watch(instance: dg.DagsterInstance, fleet: Fleet) -> Watch:
    """The sensor, on this test's fleet and instance, with an inbox."""
    defs = build_defs(open_fleet=lambda catalog: Fleet.open(fleet.settings, catalog=catalog))
    fleet.settings.inbox_path.mkdir()
    return Watch(instance, defs, fleet)


def names(fleet: Fleet, tenant: Tenant) -> list[str]:
    with fleet.session(tenant) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM artists ORDER BY name")]


def test_a_file_is_loaded_once_and_moved_to_done(watch: Watch, fleet: Fleet, tenant: Tenant) -> None:
    watch.put("acme", "artists.csv")
    assert not watch.tick().run_requests, "it may still be written"
    (request,) = watch.tick().run_requests or []
    result = watch.execute(request)
    assert result.success
    assert names(fleet, tenant) == ["Ada"]
    assert not watch.tick().run_requests
    assert watch.found("acme", "done") == {"artists.csv": ARTISTS + ADA}
    assert not list(watch.folder("acme").glob("*.csv"))
    assert not watch.settle(), "it is not looked at again"


def test_only_the_datasets_of_the_files_run_and_referenced_ones_first(
    watch: Watch, fleet: Fleet, tenant: Tenant
) -> None:
    watch.put("acme", "tracks/part-1.csv", TRACKS + SONG)
    watch.put("acme", "artists.csv")
    (request,) = watch.settle()
    result = watch.execute(request)
    ran = [e.asset_key.to_user_string() for e in result.get_asset_materialization_events() if e.asset_key]
    assert sorted(ran) == ["datasets/artists", "datasets/tracks", "fixtures/artists", "fixtures/tracks"]
    with fleet.session(tenant) as connection:
        assert connection.execute("SELECT title FROM tracks").fetchall() == [("Song",)]
    watch.tick()
    assert set(watch.found("acme", "done")) == {"artists.csv", "part-1.csv"}


def test_what_lies_in_a_tenants_folder_is_loaded_into_that_tenant_alone(
    watch: Watch, fleet: Fleet, new_tenant: Callable[..., Tenant]
) -> None:
    acme, globex = new_tenant("acme"), new_tenant("globex")
    watch.put("acme", "artists.csv")
    watch.put("globex", "artists.csv", ARTISTS + ADA.replace("Ada", "Bob"))
    requests = watch.settle()
    assert {request.partition_key for request in requests} == {"acme", "globex"}
    for request in requests:
        watch.execute(request)
    assert (names(fleet, acme), names(fleet, globex)) == (["Ada"], ["Bob"])


def test_a_run_for_one_tenant_finishes_nothing_of_another(
    watch: Watch, new_tenant: Callable[..., Tenant]
) -> None:
    new_tenant("acme")
    new_tenant("globex")
    watch.put("acme", "artists.csv")
    (request,) = watch.settle()
    watch.execute(request)
    forged = watch.folder("globex") / ".claimed" / (request.run_key or "")
    forged.mkdir(parents=True)
    (forged / "artists.csv").write_text(ARTISTS)
    (again,) = watch.tick().run_requests or []
    assert again.partition_key == "globex"
    assert forged.is_dir()


def test_bad_rows_are_quarantined_and_the_file_is_done(watch: Watch, fleet: Fleet, tenant: Tenant) -> None:
    watch.put("acme", "artists.csv", ARTISTS + ADA + ADA.replace("00000001", "wrong").replace("Ada", "Bob"))
    (request,) = watch.settle()
    assert watch.execute(request).success
    watch.tick()
    assert names(fleet, tenant) == ["Ada"]
    assert set(watch.found("acme", "done")) == {"artists.csv"}


def test_the_same_bytes_again_change_nothing(watch: Watch, fleet: Fleet, tenant: Tenant) -> None:
    for name in ("artists.csv", "artists.csv"):
        watch.put("acme", name)
        (request,) = watch.settle()
        result = watch.execute(request)
        watch.tick()
    merged = next(
        e.materialization.metadata
        for e in result.get_asset_materialization_events()
        if e.asset_key == dg.AssetKey(["datasets", "artists"])
    )
    assert merged["state"].value == "unchanged"
    assert len(list(watch.folder("acme").glob("done/*/*"))) == 2


def test_a_file_no_dataset_is_called_like_fails_without_a_run(watch: Watch, tenant: Tenant) -> None:
    watch.put("acme", "nonsense.csv", "a\n1\n")
    assert watch.settle() == []
    failed = watch.found("acme", "failed")
    assert set(failed) == {"nonsense.csv", "why.txt"}
    assert "no dataset is called 'nonsense'" in failed["why.txt"]
    assert "acme again" in failed["why.txt"]


def test_a_load_that_fails_says_why_in_the_words_of_its_report(
    watch: Watch, fleet: Fleet, tenant: Tenant
) -> None:
    watch.put("acme", "artists.csv", ARTISTS.replace("country", "land") + ADA)
    (request,) = watch.settle()
    result = watch.execute(request)
    assert not result.success
    watch.tick()
    why = watch.found("acme", "failed")["why.txt"]
    assert "artists.csv" in why
    assert "land" in why
    assert result.run_id in why
    assert names(fleet, tenant) == []


def test_a_run_that_is_lost_or_canceled_says_so(watch: Watch, tenant: Tenant) -> None:
    watch.put("acme", "artists.csv")
    (request,) = watch.settle()
    run = watch.start(request)
    assert not watch.tick().run_requests, "it is being loaded"
    assert watch.found("acme", "failed") == {}
    watch.instance.report_run_failed(run, "the machine is gone")
    watch.tick()
    assert "the machine is gone" in watch.found("acme", "failed")["why.txt"]

    watch.put("acme", "artists.csv")
    (request,) = watch.settle()
    watch.instance.report_run_canceled(watch.start(request))
    watch.tick()
    notes = [path.read_text() for path in watch.folder("acme").glob("failed/*/*/why.txt")]
    assert sum("canceled" in note for note in notes) == 1


def test_a_run_that_dagster_will_retry_is_waited_for(watch: Watch, tenant: Tenant) -> None:
    watch.put("acme", "artists.csv")
    (request,) = watch.settle()
    watch.instance.report_run_failed(watch.start(request, retries=1))
    assert not watch.tick().run_requests
    assert watch.found("acme", "failed") == {}
    assert watch.execute(request).success  # the retry, with the tags of the run it repeats
    watch.tick()
    assert set(watch.found("acme", "done")) == {"artists.csv"}


def test_a_daemon_that_dies_between_claim_and_request_loses_nothing(
    watch: Watch, fleet: Fleet, tenant: Tenant
) -> None:
    watch.put("acme", "artists.csv")
    watch.tick()
    (lost,) = watch.look().run_requests or []
    (request,) = watch.tick().run_requests or []
    assert request.run_key == lost.run_key, "Dagster starts one run for it, whichever it heard of"
    watch.execute(request)
    watch.tick()
    assert names(fleet, tenant) == ["Ada"]
    assert set(watch.found("acme", "done")) == {"artists.csv"}


def test_a_file_that_grows_while_watched_is_not_taken(watch: Watch, tenant: Tenant) -> None:
    path = watch.put("acme", "artists.csv")
    for _ in range(4):
        assert not watch.tick().run_requests
        with path.open("a") as file:
            file.write(ADA)
    assert path.is_file()
    assert watch.settle()


def test_two_ticks_at_once_request_each_file_once(watch: Watch, tenant: Tenant) -> None:
    for number in range(30):
        watch.put("acme", f"artists.{number}.csv")
    watch.tick()
    start, outcomes = threading.Barrier(2), []

    def look() -> None:
        start.wait()
        outcomes.append(watch.look())

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({request.run_key for outcome in outcomes for request in outcome.run_requests or []}) == 1
    (batch,) = inbox.claimed(watch.fleet.settings.inbox_path, "acme")
    assert len(list(batch.folder.iterdir())) == 30


def test_links_are_refused_and_the_files_beside_them_loaded(watch: Watch, tenant: Tenant) -> None:
    other = watch.put("globex", "users.csv", "of another tenant")
    watch.put("acme", "artists.csv")
    (watch.folder("acme") / "users.csv").symlink_to(other)
    (request,) = watch.settle()
    assert watch.execute(request).success
    watch.tick()
    assert set(watch.found("acme", "done")) == {"artists.csv"}
    assert "users.csv" in watch.found("acme", "failed")["why.txt"]
    assert other.read_text() == "of another tenant"


def test_folders_of_unknown_and_suspended_tenants_are_named_and_left_alone(
    watch: Watch, fleet: Fleet, new_tenant: Callable[..., Tenant]
) -> None:
    new_tenant("globex")
    suspend(fleet, "globex", reason="unpaid")
    paths = [watch.put("globex", "artists.csv"), watch.put("acne", "artists.csv")]
    watch.tick()
    outcome = watch.tick()
    assert "No active tenant: acne, globex; left alone." in (outcome.skip_message or "")
    assert all(path.is_file() for path in paths)
    assert not (watch.folder("acne") / ".claimed").exists()


def test_a_name_that_is_no_text_can_be_told(watch: Watch, tenant: Tenant) -> None:
    (watch.folder("acme")).mkdir()
    (watch.folder("acme") / os.fsdecode(b"\xff.csv")).symlink_to("/etc/passwd")
    (watch.folder("acme").parent / os.fsdecode(b"\xfe\n")).mkdir()
    assert watch.settle() == []
    watch.put("acme", "artists.csv")
    assert (watch.tick().skip_message or "").encode()
    assert "\\udcff.csv" in watch.found("acme", "failed")["why.txt"]


def test_a_file_that_breaks_its_reader_stops_no_other_tenant(
    watch: Watch, new_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into = inbox.contents

    def breaking(batch: inbox.Batch, *arguments) -> tuple[str, ...]:
        if batch.tenant == "acme":
            raise RecursionError("too deep")
        return looked_into(batch, *arguments)

    monkeypatch.setattr(inbox, "contents", breaking)
    for slug in ("acme", "globex"):
        new_tenant(slug)
        watch.put(slug, "artists.csv")
    (request,) = watch.settle()
    assert request.partition_key == "globex"
    assert "too deep" in watch.found("acme", "failed")["why.txt"]


def test_a_link_for_a_folder_stops_no_other_tenant(watch: Watch, new_tenant: Callable[..., Tenant]) -> None:
    new_tenant("acme")
    new_tenant("globex")
    watch.put("globex", "artists.csv")
    watch.put("acme", "artists.csv")
    (watch.folder("acme") / ".claimed").symlink_to(watch.folder("globex"))
    (request,) = watch.settle()
    assert request.partition_key == "globex"
    assert (watch.folder("acme") / "artists.csv").is_file()


def test_a_tick_that_takes_long_leaves_the_rest_to_the_next(
    watch: Watch, new_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into = inbox.contents

    def slowly(*arguments) -> tuple[str, ...]:
        watch.moment += timedelta(seconds=30)
        return looked_into(*arguments)

    monkeypatch.setattr(inbox, "contents", slowly)
    for slug in ("acme", "globex"):
        new_tenant(slug)
        watch.put(slug, "artists.csv")
    (first,) = watch.settle()
    watch.start(first)
    (second,) = watch.tick().run_requests or []
    assert [first.partition_key, second.partition_key] == ["acme", "globex"]


def test_without_an_inbox_nothing_is_made_and_the_sensor_says_where_it_would_be(
    watch: Watch, tenant: Tenant
) -> None:
    root = watch.fleet.settings.inbox_path
    root.rmdir()
    assert str(root) in (watch.tick().skip_message or "")
    assert not root.exists()


@pytest.mark.slow
def test_the_daemon_of_a_fresh_installation_loads_what_is_put_there(
    fleet: Fleet, tenant: Tenant, tmp_path: Path
) -> None:
    home, log = tmp_path / "dagster home", tmp_path / "daemon.log"
    home.mkdir()
    shutil.copy(PACKAGE_ROOT / "dagster.yaml", home)
    folder = fleet.settings.inbox_path / "acme"
    folder.mkdir(parents=True)
    (folder / "artists.csv").write_text(ARTISTS + ADA)
    (folder / "nonsense.csv.part").write_text("still being written")
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ},
        "DAGSTER_HOME": str(home),
        "DATABASE_URL": fleet.settings.database_url or "",
        "TENANT_OPS_HOME": str(fleet.settings.home),
        "FIXTURES_INBOX_PATH": str(fleet.settings.inbox_path),
    }
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(PACKAGE_ROOT / "workspace.yaml")]
    with log.open("w") as output:
        daemon = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 240
        while not list(folder.glob("done/*/*/artists.csv")):
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(1)
    finally:
        os.killpg(daemon.pid, signal.SIGINT)
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
    assert names(fleet, tenant) == ["Ada"]
    assert (folder / "nonsense.csv.part").is_file()
