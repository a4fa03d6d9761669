"""Retention removes what it says and nothing else; the last good backup always survives."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.backups import (
    BackupRecord,
    execute_retention,
    list_backups,
    pin,
    plan_retention,
    verify_backup,
)
from tenant_ops.backups.retention import decide
from tenant_ops.tenants import Fleet, Tenant

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def record(number: int, *, days_old: float, **fields) -> BackupRecord:
    at = (NOW - timedelta(days=days_old)).isoformat()
    values = {
        "id": f"20261120T000000Z-{number:08x}",
        "tenant_id": "t",
        "tenant": "acme",
        "type": "full",
        "parent": None,
        "path": "/",
        "codec": "zstd",
        "encrypted": True,
        "key_id": None,
        "manifest_sha256": "",
        "version": None,
        **dict.fromkeys(("tables", "rows", "raw_bytes", "stored_bytes"), 0),
        "started_at": at,
        "finished_at": at,
        "taken_at": at,
        "store": "/",
    }
    return BackupRecord(**(values | fields))


backups = st.lists(
    st.builds(
        dict,
        days_old=st.floats(-3, 400),
        pinned=st.booleans(),
        present=st.booleans(),
        verified_at=st.sampled_from([None, NOW.isoformat()]),
    ),
    max_size=12,
)


@given(histories=backups, keep_last=st.integers(0, 5), keep_days=st.none() | st.integers(0, 100))
def test_the_newest_and_the_newest_verified_always_survive(histories, keep_last, keep_days) -> None:
    records = [record(number, **fields) for number, fields in enumerate(histories)]
    decisions = {d.backup_id: d for d in decide(records, keep_last=keep_last, keep_days=keep_days, now=NOW)}
    assert decisions.keys() == {r.id for r in records}
    past = sorted(
        (r for r in records if r.present and r.finished_at <= NOW.isoformat()),
        key=lambda r: (r.finished_at, r.id),
        reverse=True,
    )
    for survivor in past[: max(keep_last, 1)] + [r for r in past if r.verified_at][:1]:
        assert decisions[survivor.id].keep
    for r in records:
        assert decisions[r.id].reason
        if r.present and r.pinned:
            assert decisions[r.id].keep


@given(histories=backups, keep_last=st.integers(0, 5))
def test_a_backup_from_the_future_or_gone_pushes_nothing_out(histories, keep_last) -> None:
    records = [record(number, **fields) for number, fields in enumerate(histories)]
    odd = [record(100 + n, days_old=-1) for n in range(6)]
    odd += [record(200 + n, days_old=0, present=False) for n in range(6)]
    plain = {d.backup_id for d in decide(records, keep_last=keep_last, keep_days=None, now=NOW) if d.keep}
    mixed = {
        d.backup_id for d in decide([*records, *odd], keep_last=keep_last, keep_days=None, now=NOW) if d.keep
    }
    assert mixed & {r.id for r in records} == plain


def test_young_backups_stay_beyond_the_count() -> None:
    records = [record(number, days_old=number) for number in range(10)]
    kept = [d.backup_id for d in decide(records, keep_last=2, keep_days=5, now=NOW) if d.keep]
    assert len(kept) == 5


def test_the_plan_is_what_is_removed(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord], monkeypatch
) -> None:
    records = [take(small_tenant) for _ in range(5)]
    assert verify_backup(fleet, records[0]).sound
    pin(fleet, records[1].id)
    starter = replace(small_tenant.tier, backups_kept=1)
    monkeypatch.setattr(Tenant, "tier", property(lambda _: starter))
    plan = plan_retention(fleet, [small_tenant])
    assert [d.reason for d in plan] == [
        "one of the newest 1",
        "older than the newest 1",
        "older than the newest 1",
        "pinned",
        "the newest that was verified",
    ]
    pin(fleet, records[2].id)  # after the plan: stays
    report = execute_retention(fleet, plan)
    assert report.removed == (records[3].id,)
    assert report.freed_bytes == records[3].stored_bytes
    assert {r.id for r in list_backups(fleet, small_tenant)} == {r.id for r in records} - {records[3].id}
    assert not Path(records[3].path).exists()
