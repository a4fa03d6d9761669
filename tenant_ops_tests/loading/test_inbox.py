"""The inbox as folders: what is picked up, when, and where it goes. No database is needed."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import MUSIC
from tenant_ops.loading import inbox
from tenant_ops.loading.inbox import Look
from tenant_ops.platform.errors import InputError

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An inbox with an empty folder for acme."""
    root = tmp_path / "in box"
    (root / "acme").mkdir(parents=True)
    return root


def put(root: Path, name: str, text: str = "x") -> Path:
    path = root / "acme" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def look(root: Path, before: Look | None = None, *, after: float = 0) -> Look:
    """A look so many seconds after noon."""
    seen = before.seen if before else {}
    return inbox.settled(root, "acme", seen, now=NOW + timedelta(seconds=after))


def twice(root: Path) -> Look:
    return look(root, look(root), after=10)


def held_by(root: Path, *, under: str = "") -> dict[str, str]:
    """Every file below the tenant's folder with its text."""
    top = root / "acme" / under
    return {str(p.relative_to(top)): p.read_text() for p in sorted(top.rglob("*")) if p.is_file()}


def claim_all(root: Path) -> inbox.Batch:
    seen = twice(root)
    batch = inbox.claim(root, seen, seen.settled, now=NOW)
    assert batch
    return batch


# --- what is settled


def test_a_file_is_settled_when_two_looks_ten_seconds_apart_find_it_the_same(root: Path) -> None:
    put(root, "users.csv")
    first = look(root)
    assert (first.settled, first.waiting) == ((), ("users.csv",))
    assert look(root, first, after=9.9).settled == ()
    assert look(root, first, after=10).settled == ("users.csv",)


def test_the_wait_is_counted_from_the_first_look_that_found_it_so(root: Path) -> None:
    put(root, "users.csv")
    seen = look(root)
    for after in (4, 8):
        seen = look(root, seen, after=after)
        assert seen.settled == ()
    assert look(root, seen, after=12).settled == ("users.csv",)


@pytest.mark.parametrize("change", ["grown", "touched", "replaced by its like"])
def test_a_file_that_changes_waits_again(root: Path, change: str) -> None:
    path = put(root, "users.csv", "abc")
    first, times = look(root), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    if change == "grown":
        path.write_text("abcd")
        os.utime(path, ns=times)
    elif change == "touched":
        os.utime(path, ns=(times[0], times[1] + 1))
    else:
        other = put(root, ".other", "xyz")
        os.utime(other, ns=times)
        other.rename(path)
    second = look(root, first, after=60)
    assert second.settled == ()
    assert look(root, second, after=70).settled == ("users.csv",)


def test_a_clock_that_was_set_back_settles_nothing_too_early_and_nothing_never(root: Path) -> None:
    put(root, "users.csv")
    late = look(root, after=3600)
    back = look(root, late, after=0)
    assert back.settled == ()
    assert look(root, back, after=10).settled == ("users.csv",)


@pytest.mark.parametrize(
    "name",
    [".users.csv", "users.csv.part", "users.csv.TMP", "users.csv~", ".hidden/users.csv", "up.tmp/users.csv"],
)
def test_names_that_say_unfinished_are_passed_over(root: Path, name: str) -> None:
    put(root, name)
    assert twice(root) == Look("acme")


def test_what_was_finished_before_is_not_looked_at_again(root: Path) -> None:
    put(root, "users.csv")
    inbox.finish(claim_all(root), "done", now=NOW)
    put(root, "users.csv")
    inbox.finish(claim_all(root), "failed", now=NOW, why="no")
    assert twice(root) == Look("acme")


def test_a_dataset_may_be_called_done_in_a_folder_below(root: Path) -> None:
    put(root, "users/done")
    assert twice(root).settled == ("users/done",)


# --- claiming


def test_everything_settled_at_one_look_is_one_batch_in_its_folders(root: Path) -> None:
    files = {"users.csv": "1", "tracks/a.csv": "2", "tracks/deep/b.csv": "3"}
    for name, text in files.items():
        put(root, name, text)
    batch = claim_all(root)
    assert held_by(root, under=f".claimed/{batch.id}") == files
    assert inbox.claimed(root, "acme") == (batch,)
    assert not (root / "acme" / "tracks").exists(), "emptied folders go"


def test_a_file_that_grew_since_the_look_stays(root: Path) -> None:
    put(root, "users.csv")
    path = put(root, "tracks.csv")
    seen = twice(root)
    with path.open("a") as file:
        file.write("more")
    batch = inbox.claim(root, seen, seen.settled, now=NOW)
    assert batch
    assert held_by(root, under=f".claimed/{batch.id}") == {"users.csv": "x"}
    assert path.read_text() == "xmore"


def test_nothing_left_to_claim_leaves_no_trace(root: Path) -> None:
    path = put(root, "users.csv")
    seen = twice(root)
    path.unlink()
    assert inbox.claim(root, seen, seen.settled, now=NOW) is None
    assert inbox.claim(root, look(root), (), now=NOW) is None
    assert inbox.claimed(root, "acme") == ()


def test_a_claim_killed_half_way_is_gone_on_with_so_that_files_stay_together(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        put(root, name)
    seen, rename, calls = twice(root), os.rename, []

    def killed(*arguments, **options) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(*arguments, **options)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        inbox.claim(root, seen, seen.settled, now=NOW)
    monkeypatch.undo()
    assert inbox.claimed(root, "acme") == (), "half a batch is not loaded"
    again = twice(root)
    batch = inbox.claim(root, again, again.settled, now=NOW)
    assert batch
    assert sorted(held_by(root, under=f".claimed/{batch.id}")) == ["a.csv", "b.csv", "c.csv"]
    assert inbox.claimed(root, "acme") == (batch,)


def test_a_claim_killed_at_its_very_end_is_finished_though_nothing_new_came(root: Path) -> None:
    batch = claim_all_of(root, "users.csv")
    batch.folder.rename(batch.folder.with_name(f"{batch.id}.open"))
    assert inbox.claim(root, look(root), (), now=NOW) == batch


def test_a_claim_that_is_gone_on_with_overwrites_nothing(root: Path) -> None:
    batch = claim_all_of(root, "users.csv", "old")
    batch.folder.rename(batch.folder.with_name(f"{batch.id}.open"))
    put(root, "users.csv", "new")
    seen = twice(root)
    assert inbox.claim(root, seen, seen.settled, now=NOW) == batch
    assert held_by(root, under=f".claimed/{batch.id}") == {"users.csv": "old"}
    assert (root / "acme" / "users.csv").read_text() == "new", "it is the next batch"


def claim_all_of(root: Path, name: str, text: str = "x") -> inbox.Batch:
    put(root, name, text)
    return claim_all(root)


def test_files_are_claimed_once_however_many_claim_at_once(root: Path) -> None:
    files = {f"users.{number}.csv": str(number) for number in range(200)}
    for name, text in files.items():
        put(root, name, text)
    seen, start = twice(root), threading.Barrier(4)

    def claimant() -> None:
        start.wait()
        with inbox.held(root) as free:
            if free:
                inbox.claim(root, seen, seen.settled, now=NOW)

    threads = [threading.Thread(target=claimant) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (batch,) = inbox.claimed(root, "acme")
    assert held_by(root) == {f".claimed/{batch.id}/{name}": text for name, text in files.items()}


def test_an_inbox_is_held_by_one_and_free_again_afterwards(root: Path) -> None:
    with inbox.held(root) as first, inbox.held(root) as second:
        assert (first, second) == (True, False)
    with inbox.held(root) as third:
        assert third


# --- what may not be taken


def test_links_are_told_apart_and_never_followed(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("of somebody else")
    (root / "globex").mkdir()
    (root / "globex" / "users.csv").write_text("globex")
    put(root, "tracks.csv")
    (root / "acme" / "users.csv").symlink_to(secret)
    (root / "acme" / "sessions").symlink_to(root / "globex")
    (root / "acme" / "artists.csv").symlink_to(root / "acme" / "tracks.csv")
    os.mkfifo(root / "acme" / "pipe.csv")
    seen = twice(root)
    assert seen.settled == ("tracks.csv",)
    assert sorted(seen.refused) == ["artists.csv", "pipe.csv", "sessions", "users.csv"]
    batch = inbox.claim(root, seen, seen.refused, now=NOW)
    assert batch
    place = inbox.finish(batch, "failed", now=NOW, why="a link.")
    assert sorted(path.name for path in place.iterdir()) == [*sorted(seen.refused), "why.txt"]
    assert secret.read_text() == "of somebody else"
    assert (root / "globex" / "users.csv").read_text() == "globex"


def test_a_folder_swapped_for_a_link_after_the_look_gives_nothing_of_another_tenant(root: Path) -> None:
    put(root, "tracks/a.csv", "acme")
    (root / "globex").mkdir()
    other = root / "globex" / "a.csv"
    seen = twice(root)
    (root / "acme" / "tracks").rename(root / "globex" / "stolen")
    (root / "globex" / "stolen" / "a.csv").rename(other)  # the same file: only its folder is another
    (root / "acme" / "tracks").symlink_to(root / "globex")
    assert inbox.claim(root, seen, seen.settled, now=NOW) is None
    assert other.read_text() == "acme"


@pytest.mark.parametrize("where", [".claimed", "done"])
def test_a_link_in_place_of_the_inboxs_own_folders_is_refused(root: Path, where: str) -> None:
    batch = claim_all_of(root, "users.csv")
    (root / "globex").mkdir()
    if where == ".claimed":
        batch.folder.parent.rename(root / "elsewhere")
    (root / "acme" / where).symlink_to(root / "globex")
    with pytest.raises(OSError, match=r"Not a directory|symbolic link"):
        inbox.finish(batch, "done", now=NOW)
    assert list((root / "globex").iterdir()) == []


def test_only_folders_of_known_tenants_are_looked_at_and_others_are_named(root: Path, tmp_path: Path) -> None:
    (root / "unknown").mkdir()
    (root / ".hidden").mkdir()
    (root / "README.md").write_text("not a tenant")
    (root / "globex").symlink_to(root / "acme")
    assert inbox.folders(root, ["acme", "globex", "initech"]) == (["acme"], ["globex", "unknown"])


# --- finishing


def test_a_finished_batch_lies_under_its_day_and_failed_ones_say_why(root: Path) -> None:
    done = inbox.finish(claim_all_of(root, "users.csv"), "done", now=NOW)
    failed_batch = claim_all_of(root, "tracks/a.csv")
    failed = inbox.finish(failed_batch, "failed", now=NOW, why="tracks/a.csv: line 2: too wide.")
    assert done.parent == root / "acme" / "done" / "2026-07-01"
    assert failed == root / "acme" / "failed" / "2026-07-01" / failed_batch.id
    assert (failed / "why.txt").read_text() == "tracks/a.csv: line 2: too wide.\n"
    assert (failed / "tracks" / "a.csv").is_file()
    assert inbox.claimed(root, "acme") == ()


def test_finishing_overwrites_nothing(root: Path) -> None:
    batch = claim_all_of(root, "why.txt", "the tenant's own")
    taken = root / "acme" / "failed" / "2026-07-01" / batch.id
    taken.mkdir(parents=True)
    (taken / "kept").write_text("kept")
    place = inbox.finish(batch, "failed", now=NOW, why="ours")
    assert place != taken
    assert (taken / "kept").read_text() == "kept"
    assert (place / "why.txt").read_text() == "the tenant's own"
    assert (place / "why-2.txt").read_text() == "ours\n"


# --- what is in a batch


def test_a_batch_says_which_datasets_it_has_files_of(root: Path) -> None:
    put(root, "users.csv", "user_id\n")
    put(root, "sessions/part-1.csv", "session_id\n")
    put(root, "notes.txt")
    assert inbox.contents(claim_all(root), MUSIC, root) == ("users", "sessions")


@pytest.mark.parametrize("name", ["nonsense.csv", "notes.txt"])
def test_a_batch_that_cannot_be_loaded_says_why(root: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"no dataset is called 'nonsense'|no data files"):
        inbox.contents(claim_all_of(root, name), MUSIC, root)


# --- all of it


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(
        st.text(
            st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12
        ).filter(lambda name: name not in {".", ".."}),
        unique_by=lambda name: name.casefold(),
        max_size=6,
    ),
    kills=st.integers(0, 12),
)
def test_whatever_is_put_there_and_whenever_it_is_killed_no_file_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], kills: int
) -> None:
    root = tmp_path_factory.mktemp("inbox")
    (root / "acme").mkdir()
    for number, name in enumerate(names):
        put(root, name, str(number))
    rename, left = os.rename, [kills]

    def counting(*arguments, **options) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        rename(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", counting)
        for _ in range(3):
            try:
                seen = twice(root)
                inbox.claim(root, seen, seen.settled, now=NOW)
                for batch in inbox.claimed(root, "acme"):
                    inbox.finish(batch, "done", now=NOW)
            except KeyboardInterrupt:
                continue
    found = {path.name: path.read_text() for path in (root / "acme").rglob("*") if path.is_file()}
    assert found == {name: str(number) for number, name in enumerate(names)}
    assert inbox.claimed(root, "acme") == ()
    assert twice(root).settled == ()
