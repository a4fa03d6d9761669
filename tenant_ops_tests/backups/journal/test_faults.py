"""Segments that are not what was written do nothing but fail, and touch nothing but the schema they go to."""

import random
from collections.abc import Callable

import pytest

from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.journal import Segment, health
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.journal.chains import Chain, differing, segment
from tenant_ops_tests.backups.journal.conftest import run

Begin = Callable[[str], Chain]
SONGS = """
    CREATE TABLE song (id integer PRIMARY KEY, n integer);
    CREATE TABLE play (song integer, word text);
    INSERT INTO song SELECT g, 0 FROM generate_series(1, 5) g;
    INSERT INTO play VALUES (1, 'x');
"""


def test_segments_out_of_order_or_cut_are_refused(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    for number in range(3):
        run(fleet, tenant, f"UPDATE song SET n = {number}")
        chain.tick()
    whole = chain.segments
    for broken in (whole[1:], whole[::2], [whole[1], whole[0]]):
        chain.segments = list(broken)
        with pytest.raises(DamagedBackup, match="does not follow the one before"), chain.replayed():
            pass
    text = text_of(whole[1])
    chain.segments = [whole[0], segment(whole[1].info, text[: text.index(b"\n") + 1]), whole[2]]
    with pytest.raises(DamagedBackup, match="segment 2: it has 1 entries, not 5"), chain.replayed():
        pass


def test_entries_that_do_not_fit_are_refused(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    run(fleet, tenant, "UPDATE song SET n = 3; DELETE FROM play")
    info = chain.tick()
    text = text_of(chain.segments[0])
    chain.segments = [segment(info, text.replace(b"(1,3)", b"(one,3)"))]
    with (
        pytest.raises(OperationFailed, match='invalid input syntax for type integer: "one"'),
        chain.replayed(),
    ):
        pass
    chain.segments = [segment(info, text.replace(b"(1,x)", b"(1,y)"))]
    with (
        pytest.raises(OperationFailed, match="1 rows of play should go, 0 of them are there"),
        chain.replayed(),
    ):
        pass


def test_an_entry_for_a_table_the_segment_does_not_follow_goes_nowhere(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS)
    run(fleet, tenant, "UPDATE song SET n = 3")
    info = chain.tick()
    text = text_of(chain.segments[0])
    for table in (
        b"pg_authid",
        b"unknown",
        f"{tenant.schema_name}.song".encode(),
        b'song"; DROP TABLE song; --',
    ):
        chain.segments = [segment(info, text.replace(b"\tsong\t", b"\t" + table + b"\t"))]
        with chain.replayed() as replayed:
            assert differing(replayed.contents(), chain.ticks[0]) == {}


@pytest.mark.slow
def test_bytes_changed_at_random_are_refused_or_are_other_rows(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    """Archives are authenticated before anything is read of them; this is what stands behind that."""
    chain = begin(SONGS)
    run(
        fleet,
        tenant,
        "UPDATE song SET n = 3; DELETE FROM play; INSERT INTO play SELECT 2, 'y'; TRUNCATE song",
    )
    info = chain.tick()
    before = health(fleet, tenant)
    text = text_of(chain.segments[0])
    chance = random.Random(4)
    refused = 0
    for _ in range(120):
        changed = bytearray(text)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        chain.segments = [segment(info, bytes(changed))]
        try:
            with chain.replayed(finish=False):
                pass
        except OperationFailed:
            refused += 1
    assert refused > 40
    assert health(fleet, tenant) == before
    with fleet.session(tenant) as connection:
        assert connection.execute("SELECT count(*) FROM play").fetchone() == (1,)


def text_of(one: Segment) -> bytes:
    with one.open() as source:
        return source.read()
