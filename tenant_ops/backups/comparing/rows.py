"""Two tables row by row: how many rows were added, removed and changed.

Here: counting over COPY text. Not here: where it comes from (`sides.py`).

Memory does not grow with the tables: rows are spread over as many passes as it takes to hold one hash of each
key and row of a pass, and a pass reads both sides again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

ROWS_PER_PASS = 500_000

Lines = Callable[[], Iterable[Sequence[bytes]]]
"""Reads a side from its beginning: batches of lines of COPY text, with their newlines."""


@dataclass(frozen=True)
class RowChanges:
    """What became of the rows from left to right; `changed` is None where rows have no key."""

    added: int
    removed: int
    changed: int | None


def count_changes(
    left: Lines, right: Lines, key: Sequence[int] | None, rows: int, per_pass: int = ROWS_PER_PASS
) -> RowChanges:
    """Compare two tables.

    Args:
        left: The one side.
        right: The other, with the same columns in the same order.
        key: Positions of the columns of a unique key that is never null; None for a table without one.
        rows: About how many the larger side has.
        per_pass: Of how many rows hashes are held at once.
    """
    passes = max(1, -(-rows // per_pass))
    found = [
        _by_key(left, right, key, passes, number) if key else _by_row(left, right, passes, number)
        for number in range(passes)
    ]
    return RowChanges(
        added=sum(changes.added for changes in found),
        removed=sum(changes.removed for changes in found),
        changed=sum(changes.changed or 0 for changes in found) if key else None,
    )


def reordered(lines: Sequence[bytes], order: Sequence[int]) -> list[bytes]:
    """The same rows with their columns in another order."""
    return [
        b"\t".join([fields[at] for at in order]) + b"\n"
        for fields in (line[:-1].split(b"\t") for line in lines)
    ]


def _by_key(left: Lines, right: Lines, key: Sequence[int], passes: int, number: int) -> RowChanges:
    before = {
        hashed: xxh3_64_intdigest(line)
        for line in chain.from_iterable(left())
        if (hashed := _hashed_key(line, key)) % passes == number
    }
    added = changed = 0
    for line in chain.from_iterable(right()):
        hashed = _hashed_key(line, key)
        if hashed % passes == number:
            was = before.pop(hashed, None)
            added += was is None
            changed += was is not None and was != xxh3_64_intdigest(line)
    return RowChanges(added, len(before), changed)


def _by_row(left: Lines, right: Lines, passes: int, number: int) -> RowChanges:
    def hashes(lines: Lines) -> Counter[int]:
        found = map(xxh3_128_intdigest, chain.from_iterable(lines()))
        return Counter(hashed for hashed in found if hashed % passes == number)

    before, after = hashes(left), hashes(right)
    return RowChanges((after - before).total(), (before - after).total(), None)


def _hashed_key(line: bytes, key: Sequence[int]) -> int:
    fields = line[:-1].split(b"\t")
    return xxh3_128_intdigest(b"\t".join([fields[at] for at in key]))
