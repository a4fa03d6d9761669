"""Comparing a profile with earlier ones: how far from usual is too far.

Here: the thresholds, each with its reason, as functions of numbers. Not here: measuring, telling.

What is usual is the median of earlier profiles, and how much it moves the median of their distances from it
(MAD, times 1.4826 to stand for a standard deviation): an odd day among them shifts neither. A threshold is
never below what an operator would look up, so that data that never moved does not alarm at the first row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log
from statistics import median

from tenant_ops.validation.profiles.values import DatasetProfile, Profile

LEAST = 5
RECENT = 7
"""Profiles that say how much there is now: a week, so that growth is followed."""
SPREADS = 4
"""As many spreads from usual is one in 16,000 of normally distributed days."""
MANY = 100
"""Rows below which a share or a mean is luck."""
DROP, SURGE = 0.7, 3.0
SHARE = 0.2
PSI = 0.25
"""Population stability index: 0.1 is called a small change, 0.25 a big one, wherever it is used."""
SHIFT = 0.5
"""Of a standard deviation: a shift of the mean that no sampling explains at a hundred rows."""
QUIET_H, QUIETER = 48.0, 3.0


@dataclass(frozen=True)
class Oddity:
    """Something that is not as usual: of a column, or of the dataset."""

    column: str
    said: str


def volume(now: DatasetProfile, earlier: Sequence[DatasetProfile]) -> Oddity | None:
    """Rows that are gone, or far more than ever."""
    counts = [one.rows for one in earlier]
    usual, most = median(counts[-RECENT:]), max(counts)
    if usual - now.rows > max(MANY / 2, SPREADS * _spread(counts[-RECENT:])) and now.rows < DROP * usual:
        return Oddity("", f"It has {now.rows:,} rows; usually it has about {usual:,.0f}.")
    if most >= MANY and now.rows > SURGE * most:
        return Oddity("", f"It has {now.rows:,} rows; it never had more than {most:,}.")
    return None


def odd_fill(now: DatasetProfile, earlier: Sequence[DatasetProfile]) -> list[Oddity]:
    """Columns that are filled far more or less often than usual."""
    found: list[Oddity] = []
    for column, filled in now.filled.items():
        shares = [
            one.filled[column] / one.rows for one in earlier if one.rows >= MANY and column in one.filled
        ]
        if now.rows < MANY or len(shares) < LEAST:
            continue
        share, usual = filled / now.rows, median(shares)
        if abs(share - usual) > max(SHARE, SPREADS * _spread(shares)):
            found.append(Oddity(column, f"It is filled in {share:.0%} of the rows; usually in {usual:.0%}."))
    return found


def odd_values(now: DatasetProfile, earlier: Sequence[DatasetProfile]) -> list[Oddity]:
    """Columns whose values are spread otherwise than usual, or whose mean has moved."""
    found: list[Oddity] = []
    for column, counts in now.values.items():
        before = [one.values[column] for one in earlier[-RECENT:] if column in one.values]
        sums = {value: sum(one.get(value, 0) for one in before) for value in counts}
        if sum(counts.values()) < MANY or sum(sums.values()) < MANY or len(before) < LEAST:
            continue
        if (index := stability_index(counts, sums)) > PSI:
            value, share, usual = _moved_most(counts, sums)
            said = f"{value!r} stands in {share:.0%} of the rows; usually in {usual:.0%} (PSI {index:.2f})."
            found.append(Oddity(column, said))
    for column, (mean, _) in now.means.items():
        pairs = [one.means[column] for one in earlier if column in one.means and one.rows >= MANY]
        if now.rows < MANY or len(pairs) < LEAST:
            continue
        means, deviation = [pair[0] for pair in pairs], median(pair[1] for pair in pairs)
        usual = median(means)
        if deviation > 0 and abs(mean - usual) > max(SHIFT * deviation, SPREADS * _spread(means)):
            found.append(Oddity(column, f"Its mean is {mean:,.6g}; usually it is about {usual:,.6g}."))
    return found


def freshness(dataset: str, at: datetime, now: DatasetProfile, earlier: Sequence[Profile]) -> Oddity | None:
    """Nothing happened for much longer than ever before."""
    if now.newest is None:
        return None
    ages = [
        (one.at - newest).total_seconds() / 3_600
        for one in earlier
        if dataset in one.datasets and (newest := one.datasets[dataset].newest)
    ]
    age = (at - now.newest).total_seconds() / 3_600
    if len(ages) < LEAST or age <= max(QUIET_H, QUIETER * max(ages)):
        return None
    return Oddity("", f"Nothing new for {age:,.0f} h; the longest before was {max(ages):,.0f} h.")


def stability_index(now: dict[str, int], before: dict[str, int]) -> float:
    """The population stability index of two distributions: 0 where they are the same.

    Each value counts half a row more than it has, so that one that was never there does not make it infinite.
    """
    total_now = sum(now.values()) + len(now) / 2
    total_before = sum(before.get(value, 0) for value in now) + len(now) / 2
    index = 0.0
    for value, count in now.items():
        share, usual = (count + 0.5) / total_now, (before.get(value, 0) + 0.5) / total_before
        index += (share - usual) * log(share / usual)
    return index


def _moved_most(now: dict[str, int], before: dict[str, int]) -> tuple[str, float, float]:
    rows, earlier = sum(now.values()), sum(before.values())
    moved = [(value, count / rows, before[value] / earlier) for value, count in now.items()]
    return max(moved, key=lambda one: abs(one[1] - one[2]))


def _spread(values: Sequence[float]) -> float:
    usual = median(values)
    return 1.4826 * median(abs(value - usual) for value in values)
