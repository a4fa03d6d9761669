"""Operations on a tenant go on as before beside its journal, never take it away, and are in it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg import sql

from tenant_ops.backups.journal import install, journal_status
from tenant_ops.cleanup import execute_cleanup, plan_cleanup, undo_cleanup
from tenant_ops.loading import Mode, execute_load, plan_load
from tenant_ops.tenants import Fleet, Tenant, offboard, plan_offboard
from tenant_ops.validation import execute_validation, plan_validation
from tenant_ops_tests.backups.journal.chains import Chain, differing
from tenant_ops_tests.cleanup.making import contents, fill

LOADS = {
    Mode.BATCH: "1,One,5,2026-01-01\n2,Two,5,2026-01-02\n3,Three,5,2026-01-03\n",
    Mode.INCREMENTAL: "1,Uno,6,2026-01-01\n3,Tres,6,2026-01-04\n4,Four,6,2026-01-05\n",
    Mode.FULL: "2,Zwei,7,2026-01-02\n5,Five,7,2026-01-06\n",
}


def test_every_way_of_loading_is_in_the_journal(fleet: Fleet, tenant: Tenant, tmp_path: Path) -> None:
    chain = Chain.begin(fleet, tenant)
    for mode, lines in LOADS.items():
        source = tmp_path / mode.value / "artists.csv"
        source.parent.mkdir()
        source.write_text(
            "artist_id,name,followers,created_at\n"
            + "".join(f"00000000-0000-0000-0000-00000000000{line}\n" for line in lines.splitlines())
        )
        by = "created_at" if mode is Mode.INCREMENTAL else None
        plan = plan_load(fleet, tenant, datasets=["artists"], source=source, mode=mode, incremental_by=by)
        execute_load(fleet, plan)
        assert chain.tick().changed == ("artists",)
        with chain.replayed() as replayed:
            assert differing(replayed.contents(), chain.ticks[-1]) == {}
    with chain.replayed() as replayed:
        assert replayed.rows("SELECT name FROM artists ORDER BY name") == [("Five",), ("Zwei",)]


def test_a_cleanup_and_its_undoing_are_in_the_journal(fleet: Fleet, tenant: Tenant) -> None:
    fill(fleet, tenant, datetime.now(UTC))
    chain, before = Chain.begin(fleet, tenant), contents(fleet, tenant)
    report = execute_cleanup(fleet, plan_cleanup(fleet, tenant), safety_copy=None)
    assert report.cleanup_id
    chain.tick()
    assert chain.ticks[1] != chain.ticks[0]
    undo_cleanup(fleet, tenant, report.cleanup_id)
    chain.tick()
    assert contents(fleet, tenant) == before
    for number in (2, 1):
        with chain.replayed() as replayed:
            assert differing(replayed.contents(), chain.ticks[number]) == {}
        chain.segments.pop()


def test_clearing_stages_leaves_the_journal(fleet: Fleet, tenant: Tenant) -> None:
    chain = Chain.begin(fleet, tenant)
    with fleet.session(tenant) as connection:
        connection.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} (n integer)").format(
                sql.Identifier(tenant.stage_schema, "stage_tracks")
            )
        )
    report = execute_cleanup(fleet, plan_cleanup(fleet, tenant, types=["stages"]), safety_copy=None)
    assert [item.subject for item in report.items] == ["stage_tracks"]
    assert chain.tick().entries == 0


@pytest.mark.parametrize("level", ["schema", "security"])
def test_validation_finds_nothing_in_the_journal(fleet: Fleet, tenant: Tenant, level: str) -> None:
    def found() -> list[tuple[str, str]]:
        report = execute_validation(fleet, plan_validation(fleet, tenant, types=[level]))
        return [(finding.rule, finding.message) for finding in report.findings]

    before = found()
    install(fleet, tenant)
    assert found() == before


def test_after_an_offboarding_nothing_is_left(fleet: Fleet, tenant: Tenant) -> None:
    install(fleet, tenant)
    offboard(fleet, plan_offboard(fleet, tenant.slug), safety_copy=None)
    with fleet.control.transaction() as connection:
        left = connection.execute(
            """
            SELECT (SELECT count(*) FROM pg_namespace WHERE nspname IN (%(live)s, %(stage)s)),
                   (SELECT count(*) FROM pg_proc WHERE strpos(prosrc, %(stage)s) > 0)
            """,
            {"live": tenant.schema_name, "stage": tenant.stage_schema},
        ).fetchone()
    assert left == (0, 0)


def test_a_journal_is_installed_anew_after_its_schema_was_exchanged(fleet: Fleet, tenant: Tenant) -> None:
    """As a restore does it: the new schema has no triggers, the old one has those of the tenant."""
    Chain.begin(fleet, tenant)
    live, aside = sql.Identifier(tenant.schema_name), sql.Identifier(f"{tenant.schema_name}__old_1")
    with fleet.control.transaction() as connection:
        connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(live, aside))
        connection.execute(
            sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(live, sql.Identifier(tenant.role("owner")))
        )
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE song (id integer PRIMARY KEY)")
    assert journal_status(fleet, tenant).healthy is False
    anew = Chain.begin(fleet, tenant)
    assert journal_status(fleet, tenant).healthy
    with fleet.session(tenant) as connection:
        connection.execute("INSERT INTO song VALUES (1)")
    assert anew.tick().changed == ("song",)
