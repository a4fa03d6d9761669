"""Looking at a part of a huge table, and what that says about all of it.

Here: how much is looked at, and estimates with bounds. Not here: the queries (`scanning.py`).

A part is picked with a fixed seed: the same rows as long as the table stays as it is. What is picked is a
unit: a page of the table (SYSTEM, which reads those pages only), a row (BERNOULLI, which reads the table but
checks few rows), or a value of a key with all its rows, because half of a pair of duplicates shows nothing.
Every unit has the same chance p, so n bad rows in the part stand for about n / p (Horvitz and Thompson). Rows
of one page are often bad together: bounds count units, not rows.
"""

from dataclasses import dataclass
from math import ceil, floor, log, sqrt
from typing import Any, Literal

CONFIDENCE = 0.95
_Z = 1.96
_HASHES = 2**30

Method = Literal["system", "bernoulli"]
Unit = Literal["page", "row", "value"]


@dataclass(frozen=True)
class Sampling:
    """When and how much of a table is looked at instead of all of it.

    Attributes:
        above_rows: Tables the server estimates at more rows than this; 0: every table.
        rows: About how many rows are looked at.
        method: Pages at random, or rows at random: tighter bounds, for reading the whole table.
        seed: Which ones.
    """

    above_rows: int = 50_000_000
    rows: int = 2_000_000
    method: Method = "system"
    seed: int = 1

    def of(self, rows: int) -> "Sample | None":
        """The part to look at of a table with about so many rows; None: all of it."""
        if rows <= self.above_rows or rows <= self.rows:
            return None
        return Sample(self.method, self.rows / rows, self.seed)


@dataclass(frozen=True)
class Sample:
    """A part of one table.

    Attributes:
        share: The chance of each unit to be in it, above 0 and below 1.
    """

    method: Method
    share: float
    seed: int

    @property
    def parameters(self) -> dict[str, Any]:
        """What its SQL needs."""
        return {
            "sample_percent": 100 * self.share,
            "sample_seed": self.seed,
            "sample_mark": max(1, round(self.share * _HASHES)),
        }

    def fill_in(self, query: str) -> str:
        """The query with `$sample` and `$unit` as this part is picked."""
        clause = f"TABLESAMPLE {self.method} (%(sample_percent)s::real) REPEATABLE (%(sample_seed)s)"
        unit = "(ctid::text::point)[0]::bigint" if self.method == "system" else "ctid::text"
        return query.replace("$sample", clause).replace("$unit", unit)

    def unit_of(self, query: str) -> Unit:
        """What a query of a rule picks."""
        if "$sample" not in query:
            return "value"
        return "page" if self.method == "system" else "row"


@dataclass(frozen=True)
class Estimate:
    """How many bad rows the whole table has, by those in a part of it.

    Attributes:
        about: The likeliest number.
        low: With 95 % confidence there are no fewer; never below the number seen.
        high: With 95 % confidence there are no more.
        share: The part of the table that was looked at, above 0 and below 1.
    """

    about: int
    low: int
    high: int
    share: float


@dataclass(frozen=True)
class Sampled:
    """A rule that was checked on a part of the rows, and found nothing there.

    Attributes:
        rows: Rows looked at, where they were counted.
        share: The part of the table that was looked at.
        unit: What was picked: pages, rows, or values of a key.
        fewer_than: With 95 % confidence, fewer units of the whole table than this hold a bad row.
    """

    rule: str
    dataset: str
    rows: int | None
    share: float
    unit: Unit
    fewer_than: int

    def __str__(self) -> str:
        return (
            f"None in {_percent(self.share)} of the table: with 95 % confidence fewer than "
            f"{self.fewer_than:,} of its {self.unit}s have any."
        )


def estimate(seen: int, squares: int, share: float) -> Estimate:
    """Bad rows of the whole table.

    The variance of n / p is the sum of squares of what each unit held, times (1 - p) / p^2. So the rows
    are worth `seen^2 / squares` independent ones, and bounds are Poisson's for that many, by Byar's
    approximation (Breslow and Day, Statistical Methods in Cancer Research II, 1987, page 69).

    Args:
        seen: Bad rows in the part, at least 1.
        squares: The sum, over units, of the square of the bad rows each held.
        share: The chance of each unit to be in the part.
    """
    about = seen / share
    worth = seen**2 / squares
    low = worth * max(0.0, 1 - 1 / (9 * worth) - _Z / (3 * sqrt(worth))) ** 3
    above = worth + 1
    high = above * (1 - 1 / (9 * above) + _Z / (3 * sqrt(above))) ** 3
    unseen = sqrt(1 - share)
    return Estimate(
        about=round(about),
        low=max(seen, floor(about - (about - about * low / worth) * unseen)),
        high=ceil(about + (about * high / worth - about) * unseen),
        share=share,
    )


def fewer_than(share: float) -> int:
    """How many bad units a table could have at most when none is in the part, with 95 % confidence.

    The chance to miss all of u is (1 - p)^u; for a small p this is the rule of three, 3 / p.
    """
    return floor(log(1 - CONFIDENCE) / log(1 - share)) + 1


def in_words(seen: int, found: Estimate) -> str:
    """`at least 12 rows, about 1,200 (95 % between 650 and 2,100)`."""
    rows = "row" if seen == 1 else "rows"
    return (
        f"at least {seen:,} {rows}, about {found.about:,} (95 % between {found.low:,} and {found.high:,}; "
        f"{_percent(found.share)} of the table was looked at)"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
