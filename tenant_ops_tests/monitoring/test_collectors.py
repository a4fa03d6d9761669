"""One look reads all tenants at once, waits for nobody, and says what it could not see."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic, sleep

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tenant_ops.monitoring import METRICS, Reading, collect
from tenant_ops.platform.database import Database
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.monitoring.conftest import Time

Connect = Callable[[Tenant], psycopg.Connection]
# A server process tells the statistics at the end of its transaction, but at most once a second unless asked.
COUNT_AT_ONCE = "SELECT pg_stat_force_next_flush()"


def look(fleet: Fleet, tenant: Tenant) -> Reading:
    (reading,) = collect(fleet, [tenant]).readings
    return reading


def add_artists(fleet: Fleet, tenant: Tenant, count: int) -> None:
    with fleet.session(tenant) as connection:
        connection.execute(
            "INSERT INTO artists SELECT gen_random_uuid(), repeat('x', 100), NULL, NULL, 1, now() "
            "FROM generate_series(1, %s)",
            (count,),
        )
        connection.execute(COUNT_AT_ONCE)


def exact_size(fleet: Fleet, tenant: Tenant) -> int:
    with fleet.control.transaction() as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace IN (to_regnamespace(%s), to_regnamespace(%s))",
            (tenant.schema_name, tenant.stage_schema),
        ).fetchone()
    assert row
    return int(row[0])


def test_a_look_reads_rows_and_sizes_close_to_the_truth(fleet: Fleet, tenant: Tenant) -> None:
    add_artists(fleet, tenant, 5_000)
    fresh = look(fleet, tenant).metrics
    assert fresh["live_rows"] == 5_000
    assert fresh["size_bytes"] == pytest.approx(exact_size(fleet, tenant), rel=0.1)
    with fleet.session(tenant) as connection:
        connection.execute("ANALYZE")
    assert look(fleet, tenant).metrics["size_bytes"] == pytest.approx(exact_size(fleet, tenant), rel=0.1)


def test_long_values_count_before_the_server_has_counted_them(fleet: Fleet, tenant: Tenant) -> None:
    """Analysing does not count the pages of values stored out of line."""
    with fleet.session(tenant) as connection:
        connection.execute(
            "INSERT INTO content (content_id, kind, title, body, language, status, word_count, created_at) "
            "SELECT gen_random_uuid(), 'note', 'x', string_agg(gen_random_uuid()::text, ''), 'en', 'draft', "
            "1, now() FROM generate_series(1, 200) AS row, generate_series(1, 500) GROUP BY row"
        )
        connection.execute("ANALYZE content")
        connection.execute(COUNT_AT_ONCE)
    assert look(fleet, tenant).metrics["size_bytes"] == pytest.approx(exact_size(fleet, tenant), rel=0.1)


def test_dead_and_unanalyzed_rows_are_shares(fleet: Fleet, tenant: Tenant) -> None:
    add_artists(fleet, tenant, 2_000)
    with fleet.session(tenant) as connection:
        connection.execute("ANALYZE artists")
    with fleet.session(tenant) as connection:
        connection.execute("DELETE FROM artists WHERE ctid IN (SELECT ctid FROM artists LIMIT 1500)")
        connection.execute(COUNT_AT_ONCE)
    metrics = look(fleet, tenant).metrics
    assert metrics["dead_share"] == pytest.approx(0.75)
    assert metrics["unanalyzed_share"] == 1.0


def test_files_are_added_up_and_links_are_not_followed(fleet: Fleet, tenant: Tenant) -> None:
    folder = fleet.files(tenant) / "deep"
    folder.mkdir()
    (folder / "a").write_bytes(b"x" * 1000)
    (fleet.files(tenant) / "b").write_bytes(b"x" * 500)
    (folder / "outside").symlink_to("/usr", target_is_directory=True)
    assert 1500 <= look(fleet, tenant).metrics["files_bytes"] < 1600


def test_ages_and_score_come_from_the_catalog_and_the_reports(
    fleet: Fleet, tenant: Tenant, time: Time
) -> None:
    time.passes(hours=3)
    assert look(fleet, tenant).metrics["backup_age_s"] == 3 * 3600, "since it was made"
    assert not {"load_age_s", "validation_score"} & look(fleet, tenant).metrics.keys()
    with fleet.control.transaction() as connection:
        connection.execute(
            "INSERT INTO tenant_ops.backup (id, tenant_id, tenant_slug, type, path, codec, encrypted, "
            "manifest_sha256, tables, rows, raw_bytes, stored_bytes, started_at, finished_at, taken_at, "
            "store) "
            "VALUES ('b1', %(id)s, 'acme', 'full', '', 'zstd', true, '', 0, 0, 0, 0, "
            "%(now)s, %(now)s, %(now)s, '')",
            {"id": tenant.id, "now": time.now},
        )
        for operation, outcome, body in (
            ("merge", "done", {}),
            ("merge", "failed", {}),
            ("validate", "findings", {"score": 71}),
        ):
            connection.execute(
                "INSERT INTO tenant_ops.report (tenant_id, operation, outcome, started_at, finished_at, "
                "body) VALUES (%s, %s, %s, %s, %s, %s)",
                (tenant.id, operation, outcome, time.now, time.now, Jsonb(body)),
            )
            time.passes(hours=1)
    metrics = look(fleet, tenant).metrics
    assert (metrics["backup_age_s"], metrics["load_age_s"]) == (3 * 3600, 3 * 3600)
    assert metrics["validation_score"] == 71


def test_every_metric_is_described(fleet: Fleet, tenant: Tenant) -> None:
    assert look(fleet, tenant).metrics.keys() <= METRICS.keys()


def test_sessions_are_those_of_the_tenants_own_login(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant], connect: Connect
) -> None:
    other = new_tenant("globex")
    session = connect(tenant)
    session.execute("SELECT 1")  # and stays idle in its transaction
    connect(tenant).autocommit = True
    sleep(0.05)
    mine, theirs = (reading.metrics for reading in collect(fleet, [tenant, other]).readings)
    assert mine["connections"] == 2
    assert mine["idle_in_transaction_s"] >= 0.04
    assert mine["longest_transaction_s"] >= mine["idle_in_transaction_s"]
    assert (theirs["connections"], theirs["idle_in_transaction_s"]) == (0, 0)


def test_a_statement_that_waits_for_a_lock_is_seen(fleet: Fleet, tenant: Tenant, connect: Connect) -> None:
    waiting = connect(tenant)
    with ThreadPoolExecutor(1) as pool, fleet.session(tenant) as owner:
        owner.execute("LOCK TABLE artists")
        pool.submit(waiting.execute, "SELECT count(*) FROM artists")
        deadline = monotonic() + 5
        while (seen := look(fleet, tenant).metrics["lock_wait_s"]) == 0 and monotonic() < deadline:
            sleep(0.02)
    assert seen > 0


def test_a_table_held_exclusively_delays_nobody(fleet: Fleet, tenant: Tenant) -> None:
    add_artists(fleet, tenant, 5_000)
    with fleet.session(tenant) as owner:
        owner.execute("LOCK TABLE artists IN ACCESS EXCLUSIVE MODE")
        started = monotonic()
        reading = look(fleet, tenant)
        took = monotonic() - started
    assert took < 0.9, "less than the lock timeout"
    assert reading.metrics["live_rows"] == 5_000


def test_the_number_of_queries_does_not_depend_on_the_number_of_tenants(
    fleet: Fleet, new_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = [new_tenant(f"tenant_{number}") for number in range(4)]
    genuine, counted = psycopg.Cursor.execute, []

    def counting(self: psycopg.Cursor, *arguments: object, **options: object) -> psycopg.Cursor:
        counted.append(1)
        return genuine(self, *arguments, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(psycopg.Cursor, "execute", counting)
    collect(fleet, tenants[:1])
    for_one = len(counted)
    collect(fleet, tenants)
    assert len(counted) == 2 * for_one <= 12


def test_a_server_that_does_not_answer_is_reported_and_the_others_are_read(
    fleet: Fleet, tenant: Tenant
) -> None:
    far = replace(fleet, servers={"far": Database("postgresql://nobody@127.0.0.1:1/nothing")})
    moved = replace(tenant, slug="moved", key="abcdefghijklm", placement="far")
    lost = replace(tenant, slug="lost", key="nopqrstuvwxyz", placement="nowhere")
    seen = collect(far, [tenant, moved, lost])
    assert [reading.reached for reading in seen.readings] == [True, False, False]
    assert "live_rows" not in seen.readings[1].metrics
    problems = {server.placement: server.problem for server in seen.servers}
    assert problems["default"] == ""
    assert "does not answer" in problems["far"]
    assert "'nowhere' is not a known server" in problems["nowhere"]


def test_what_the_server_cannot_tell_is_said_in_words(fleet: Fleet, tenant: Tenant) -> None:
    embedded = replace(fleet, settings=replace(fleet.settings, database_url=None))
    assert collect(embedded, [tenant]).notes == (
        "Statistics per query are not available here, because the embedded Postgres carries no "
        "pg_stat_statements.",
    )
    assert "because this server has no pg_stat_statements" in collect(fleet, [tenant]).notes[0]


def test_a_fleet_without_tenants_is_looked_at_too(fleet: Fleet) -> None:
    assert collect(fleet, []).readings == ()
