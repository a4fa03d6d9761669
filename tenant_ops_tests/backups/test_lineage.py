"""The view of chains: what builds on what, which moments it covers, and what is wrong with it."""

from dataclasses import replace

from tenant_ops.backups import BackupRecord
from tenant_ops.backups.lineage import ChainView, chains, why_unreadable
from tenant_ops_tests.backups.test_retention import chain, record


def shape(view: ChainView) -> list[tuple[int, str]]:
    return [(link.level, link.backup.id) for link in view.links]


def with_journal(links: list[BackupRecord]) -> list[BackupRecord]:
    return [
        replace(link, journal_to=link.taken_at, journal_from=before.taken_at if before else None)
        for before, link in zip([None, *links], links, strict=False)
    ]


def test_each_backup_stands_below_the_one_it_builds_on_and_older_ones_first() -> None:
    base, first, second = chain(0, days_old=[9, 8, 7])
    differential = record(5, days_old=6, type="differential", parent=base.id)
    on_it = record(6, days_old=5, type="incremental", parent=differential.id)
    newer = record(7, days_old=1)
    views = chains([on_it, newer, second, base, differential, first])
    assert [view.base_id for view in views] == [newer.id, base.id]
    assert shape(views[1]) == [
        (0, base.id),
        (1, first.id),
        (2, second.id),
        (1, differential.id),
        (2, on_it.id),
    ]


def test_a_chain_with_a_journal_covers_every_moment_from_its_base_to_its_end() -> None:
    links = with_journal(chain(0, days_old=[9, 8, 7]))
    (view,) = chains(links)
    assert (view.covers_from, view.covers_to) == (links[0].taken_at, links[2].taken_at)
    assert view.continuous
    (alone,) = chains([record(0, days_old=1)])
    assert (alone.covers_from, alone.continuous) == (alone.covers_to, False)


def test_a_damaged_link_ends_what_is_covered_and_is_named() -> None:
    links = with_journal(chain(0, days_old=[9, 8, 7, 6]))
    links[2] = replace(links[2], damage="a hash is wrong")
    (view,) = chains(links)
    assert view.covers_to == links[1].taken_at
    assert [link.problem for link in view.links] == [
        None,
        None,
        "it is damaged",
        f"{links[2].id}, which it builds on, is damaged",
    ]


def test_a_chain_without_its_base_is_one_chain_and_names_what_is_missing() -> None:
    base, first, second = chain(0, days_old=[9, 8, 7])
    other = record(5, days_old=6, type="differential", parent=base.id)
    (view,) = chains([second, first, other])
    assert view.base_id == base.id
    assert shape(view) == [(0, first.id), (1, second.id), (0, other.id)]
    assert view.covers_from is None
    assert {link.problem for link in view.links} == {f"{base.id}, which it builds on, is missing"}


def test_chains_that_run_in_a_circle_are_said_to_and_end() -> None:
    one, two = chain(0, days_old=[9, 8])
    one = replace(one, parent=two.id, type="incremental")
    assert why_unreadable(one, {one.id: one, two.id: two}) == "its chain runs in a circle"
    assert sum(len(view.links) for view in chains([one, two])) == 2
