"""A chain goes on only where every change is proved to be in the journal; otherwise it says why not."""

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups.journal import (
    Anchor,
    ChainBroken,
    capture,
    health,
    install,
    keep,
    prune,
    read_anchor,
    remove,
    write_segment,
)
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.journal.chains import Chain, differing, written
from tenant_ops_tests.backups.journal.conftest import as_login, run

Begin = Callable[[str], Chain]
SONGS = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE spot AS (x integer, y integer);
    CREATE TABLE song (id integer PRIMARY KEY, title text, n integer DEFAULT 0, feeling mood, at spot);
    CREATE TABLE part (id integer PRIMARY KEY, v integer) PARTITION BY RANGE (id);
    CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
    INSERT INTO song SELECT g, 'song ' || g, 1, 'ok', '(1,2)' FROM generate_series(1, 10) g;
"""


def refused(chain: Chain, since: Anchor | None = None) -> str:
    """The reason for which no segment is written."""
    with hold_snapshot(chain.fleet, chain.tenant) as snapshot, pytest.raises(ChainBroken) as refusal:
        write_segment(snapshot, chain.tenant, since or chain.last, lambda piece, rows: None)
    assert chain.tenant.slug in str(refusal.value)
    return refusal.value.reason


def test_a_base_whose_snapshot_is_older_than_the_triggers_begins_no_chain(
    fleet: Fleet, tenant: Tenant
) -> None:
    with hold_snapshot(fleet, tenant) as snapshot, pytest.raises(ChainBroken, match="not installed"):
        read_anchor(snapshot, tenant)
    with hold_snapshot(fleet, tenant) as snapshot:
        install(fleet, tenant)
        with pytest.raises(ChainBroken) as refusal:
            read_anchor(snapshot, tenant)
    assert refusal.value.reason in ("not installed", "not healthy")


def test_installing_waits_for_those_that_wrote_before_there_were_triggers(
    fleet: Fleet, tenant: Tenant
) -> None:
    """What they wrote is not in the journal, so it must be in the base."""
    run(fleet, tenant, SONGS)
    with as_login(fleet, tenant) as early, pytest.MonkeyPatch.context() as patch:
        early.execute("BEGIN")
        early.execute("UPDATE song SET n = 2 WHERE id = 1")
        patch.setattr(capture, "PATIENCE", replace(capture.PATIENCE, attempts=2, first_s=0.01))
        with pytest.raises(OperationFailed, match="lock timeout"):
            install(fleet, tenant)
        early.execute("COMMIT")
    chain = Chain.begin(fleet, tenant)
    assert b"1\tsong 1\t2\t" in chain.rows["song"]


def test_installing_again_changes_nothing(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    before = health(fleet, tenant)
    assert install(fleet, tenant) == before
    assert chain.tick().entries == 0


def test_an_idle_tenant_has_empty_segments(begin: Begin) -> None:
    chain = begin(SONGS)
    for _ in range(3):
        info = chain.tick()
        assert (info.entries, info.bytes, info.transactions, info.copied) == (0, 0, 0, ())
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}


UNSEEN = {
    "a trigger was disabled": "ALTER TABLE song DISABLE TRIGGER tenant_ops_journal_update; "
    "UPDATE song SET n = 5; ALTER TABLE song ENABLE ALWAYS TRIGGER tenant_ops_journal_update",
    "all triggers were disabled": "ALTER TABLE song DISABLE TRIGGER ALL; DELETE FROM song; "
    "ALTER TABLE song ENABLE TRIGGER ALL; "
    + "; ".join(
        f"ALTER TABLE song ENABLE ALWAYS TRIGGER tenant_ops_journal_{event}"
        for event in ("insert", "update", "delete", "truncate")
    ),
    "a column was rewritten": "ALTER TABLE song ALTER n TYPE integer USING n + 1",
    "a column was exchanged": "ALTER TABLE song DROP at; ALTER TABLE song ADD at spot",
    "a partition was away": "ALTER TABLE part DETACH PARTITION part_low; INSERT INTO part_low VALUES (1, 1)"
    "; ALTER TABLE part ATTACH PARTITION part_low FOR VALUES FROM (0) TO (100)",
    "labels changed places": "ALTER TYPE mood RENAME VALUE 'sad' TO 'x'; "
    "ALTER TYPE mood RENAME VALUE 'ok' TO 'sad'; ALTER TYPE mood RENAME VALUE 'x' TO 'ok'; "
    "ALTER TYPE mood RENAME VALUE 'ok' TO 'x'; ALTER TYPE mood RENAME VALUE 'sad' TO 'ok'; "
    "ALTER TYPE mood RENAME VALUE 'x' TO 'sad'",
    "an attribute was exchanged": "ALTER TYPE spot RENAME ATTRIBUTE x TO z; "
    "ALTER TYPE spot RENAME ATTRIBUTE z TO x",
    "the journal was emptied": "UPDATE song SET n = 7; TRUNCATE {stage}.journal",
}


@pytest.mark.parametrize("how", UNSEEN)
def test_what_was_put_back_as_it_was_still_breaks_the_chain(
    begin: Begin, fleet: Fleet, tenant: Tenant, how: str
) -> None:
    """Definition and triggers are what they were, but rows may have changed unseen in between."""
    chain = begin(SONGS)
    with fleet.session(tenant) as connection:
        for statement in UNSEEN[how].format(stage=tenant.stage_schema).split("; "):
            connection.execute(statement.encode())
    assert health(fleet, tenant).problems == ()
    assert refused(chain) == "capture changed"


def test_triggers_made_again_break_the_chain(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    run(fleet, tenant, "DROP TRIGGER tenant_ops_journal_delete ON song; DELETE FROM song")
    assert refused(chain) == "not healthy"
    install(fleet, tenant)
    assert refused(chain) == "capture changed"
    remove(fleet, tenant)
    assert refused(chain) == "not installed"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE song DISABLE TRIGGER tenant_ops_journal_insert",
        "ALTER TABLE song ENABLE TRIGGER tenant_ops_journal_insert",
        "ALTER TABLE part_low ENABLE REPLICA TRIGGER tenant_ops_journal_truncate",
        "DROP TRIGGER tenant_ops_journal_update ON part",
    ],
)
def test_a_table_that_is_not_followed_is_named(
    begin: Begin, fleet: Fleet, tenant: Tenant, change: str
) -> None:
    chain = begin(SONGS)
    run(fleet, tenant, change)
    (problem,) = health(fleet, tenant).problems
    assert problem.split()[0] in change
    assert refused(chain) == "not healthy"


def test_a_function_that_was_exchanged_is_noticed(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    unit = next(unit for unit in health(fleet, tenant).units if unit.name == "song")
    function = f"{tenant.stage_schema}.journal_{unit.oid}()"
    run(fleet, tenant, f"ALTER FUNCTION {function} RESET jit")
    assert refused(chain) == "not healthy"
    run(fleet, tenant, f"ALTER FUNCTION {function} SET jit = off")
    assert refused(chain) == "capture changed"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE song ADD extra integer",
        "ALTER TABLE song DROP title",
        "ALTER TABLE song RENAME title TO name",
        "ALTER TABLE song RENAME TO tune",
        "ALTER TABLE song ALTER n TYPE bigint",
        "ALTER TABLE song ADD CHECK (n < 1000)",
        "CREATE TABLE album (id integer PRIMARY KEY)",
        "CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (100) TO (200)",
        "DROP TABLE part_low",
    ],
)
def test_a_changed_definition_ends_the_segment(
    begin: Begin, fleet: Fleet, tenant: Tenant, change: str
) -> None:
    chain = begin(SONGS)
    run(fleet, tenant, change)
    assert refused(chain) == "definition changed"
    anew = Chain.begin(fleet, tenant)
    assert anew.tick().entries == 0


def test_another_server_or_timeline_is_refused(begin: Begin) -> None:
    chain = begin(SONGS)
    assert refused(chain, replace(chain.base, system_identifier="1")) == "another server"
    assert refused(chain, replace(chain.base, timeline="00000009")) == "another server"


def test_a_server_put_back_to_an_earlier_state_is_refused(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    """Its transaction ids begin again where they were: the same id is another transaction."""
    chain = begin(SONGS)
    ahead = replace(chain.base, snapshot="999999999999:999999999999:")
    keep(fleet, tenant, ahead)
    assert refused(chain, ahead) == "server went back"
    # When its ids have caught up, it has still forgotten that the later backup was kept.
    assert refused(chain, replace(chain.base, snapshot="5:5:")) == "not kept"


def test_a_backup_that_was_never_stored_is_nothing_to_go_on_from(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS)
    run(fleet, tenant, "UPDATE song SET n = 2")
    with hold_snapshot(fleet, tenant) as snapshot:
        lost, _ = written(snapshot, tenant, chain.base)
    assert refused(chain, lost.anchor) == "not kept"
    run(fleet, tenant, "UPDATE song SET n = 3")
    chain.tick()
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}


def test_pruning_leaves_what_a_transaction_open_at_the_tick_wrote(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    """Its id is lower than those of transactions that were in the segment; by the id alone it would go."""
    chain = begin(SONGS)
    with as_login(fleet, tenant) as slow:
        slow.execute("BEGIN")
        slow.execute("UPDATE song SET n = 20 WHERE id = 1")
        run(fleet, tenant, "UPDATE song SET n = 30 WHERE id = 2")
        chain.tick()
        assert prune(fleet, tenant, chain.last) == 0
        slow.execute("COMMIT")
    info = chain.tick()
    assert (info.entries, info.transactions) == (1, 1)
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}
    assert prune(fleet, tenant, chain.last) == 2
    assert refused(chain, chain.base) == "not kept"
    assert chain.tick().entries == 0


def test_the_journal_is_pruned_to_a_kept_backup_only(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    with pytest.raises(OperationFailed, match="does not know the backup"):
        prune(fleet, tenant, replace(chain.base, snapshot="5:5:"))


def test_a_watermark_on_the_number_would_lose_the_row_that_this_keeps(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS)
    with as_login(fleet, tenant) as slow:
        slow.execute("BEGIN")
        slow.execute("UPDATE song SET n = 20 WHERE id = 1")
        run(fleet, tenant, "UPDATE song SET n = 30 WHERE id = 2")
        chain.tick()
        slow.execute("COMMIT")
    chain.tick()
    numbers = [[int(line.split(b"\t")[0]) for line in entries(chain, part)] for part in range(2)]
    assert numbers[1][0] < numbers[0][0]


def entries(chain: Chain, part: int) -> list[bytes]:
    with chain.segments[part].open() as source:
        return source.read().splitlines()


def test_the_journal_is_no_part_of_the_definition(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    """A restored schema has no capture triggers: they would call functions of the tenant it came from."""
    run(fleet, tenant, SONGS)
    with hold_snapshot(fleet, tenant) as snapshot:
        before = snapshot.definition
    chain = Chain.begin(fleet, tenant)
    assert chain.definition == before
    with chain.replayed() as replayed:
        found = replayed.connection.execute(
            sql.SQL(
                "SELECT count(*) FROM pg_trigger WHERE tgrelid = {}::regclass AND NOT tgisinternal"
            ).format(sql.Literal(f"{replayed.schema}.song"))
        ).fetchone()
    assert found == (0,)


def test_removing_leaves_nothing(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    begin(SONGS)
    remove(fleet, tenant)
    with fleet.session(tenant) as connection:
        connection.execute("UPDATE song SET n = 3")
        left = connection.execute(
            """
            SELECT (SELECT count(*) FROM pg_trigger WHERE starts_with(tgname, 'tenant_ops_journal')
                    AND tgrelid = 'song'::regclass),
                   (SELECT count(*) FROM pg_class WHERE relnamespace = %(stage)s::regnamespace
                    AND starts_with(relname, 'journal')),
                   (SELECT count(*) FROM pg_proc WHERE pronamespace = %(stage)s::regnamespace)
            """,
            {"stage": tenant.stage_schema},
        ).fetchone()
    assert left == (0, 0, 0)
    assert health(fleet, tenant).installed is False


def test_the_triggers_of_a_table_that_a_restore_set_aside_are_gone_when_its_successor_is_followed(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    begin(SONGS)
    schema = sql.Identifier(tenant.schema_name)
    aside = sql.Identifier(f"{tenant.schema_name}__old_1")
    with fleet.control.transaction() as connection:
        connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(schema, aside))
        connection.execute(
            sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, sql.Identifier(tenant.role("owner")))
        )
    run(fleet, tenant, SONGS)
    install(fleet, tenant)
    with fleet.control.transaction() as connection:
        connection.execute(sql.SQL("UPDATE {}.song SET n = 5").format(aside))
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(tenant.stage_schema, "journal"))
        ).fetchone()
        assert row == (0,)


def test_unknown_errors_of_the_server_are_sentences(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(
            sql.SQL("CREATE TABLE {} (n integer)").format(sql.Identifier(tenant.schema_name, "not_ours"))
        )
    with pytest.raises(OperationFailed, match="must belong to the tenant's owner role") as refusal:
        install(fleet, tenant)
    assert isinstance(refusal.value.__cause__, psycopg.errors.InsufficientPrivilege)
