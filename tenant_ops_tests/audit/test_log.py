"""The audit chain: a changed, removed or cut-off line shows, and writers never collide."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tenant_ops.audit import history, record, verify_chain
from tenant_ops.tenants import Fleet

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def write(fleet: Fleet, count: int, chain: str = "c") -> None:
    for number in range(count):
        with fleet.control.transaction() as connection:
            record(connection, chain=chain, at=NOW, actor="me", action="did", detail={"n": number})


def test_an_untouched_chain_is_intact(fleet: Fleet) -> None:
    write(fleet, 5)
    with fleet.control.transaction() as connection:
        assert verify_chain(connection, "c").intact
        assert [event.detail["n"] for event in history(connection, "c", limit=2)] == [4, 3]


@pytest.mark.parametrize(
    ("tampering", "broken_at"),
    [
        ("UPDATE tenant_ops.audit_event SET actor = 'someone else' WHERE seq = 3", 3),
        ("UPDATE tenant_ops.audit_event SET at = at + interval '1 second' WHERE seq = 2", 2),
        ("UPDATE tenant_ops.audit_event SET detail = '{\"n\": 99}' WHERE seq = 5", 5),
        ("DELETE FROM tenant_ops.audit_event WHERE seq = 3", 3),
        ("DELETE FROM tenant_ops.audit_event WHERE seq = 5", 5),
    ],
)
def test_tampering_is_found_where_it_happened(fleet: Fleet, tampering: str, broken_at: int) -> None:
    write(fleet, 5)
    with fleet.control.transaction() as connection:
        connection.execute(tampering)
        verdict = verify_chain(connection, "c")
    assert (verdict.intact, verdict.broken_at) == (False, broken_at)


def test_concurrent_writers_share_one_chain(fleet: Fleet) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write(fleet, 5), range(4)))
    with fleet.control.transaction() as connection:
        verdict = verify_chain(connection, "c")
    assert (verdict.intact, verdict.events) == (True, 20)


def test_a_rolled_back_operation_leaves_no_event(fleet: Fleet) -> None:
    with pytest.raises(RuntimeError), fleet.control.transaction() as connection:
        record(connection, chain="c", at=NOW, actor="me", action="did")
        raise RuntimeError
    with fleet.control.transaction() as connection:
        assert verify_chain(connection, "c").events == 0
