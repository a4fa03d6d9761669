"""Recipes for lifelike values: what a `Column.sample` may say.

Here: which parent row a foreign key names (`PICKS`); numbers, choices and times; the list of all (`RECIPES`).
Not here: names and texts (`wording.py`), values made from type and rules alone (`domains.py`).

A recipe is a pure function of the rows' numbers. It answers for its column's rules, and for the uniqueness of
the column sets it is part of.
"""

# ruff: noqa: ARG001 - recipes share one signature

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tenant_ops.datasets.definition import Column, ForeignKey
from tenant_ops.datasets.synthesis import randomness, wording
from tenant_ops.datasets.synthesis.domains import DAY_MS, Values, arrow, listed, parse, pc, scale
from tenant_ops.datasets.synthesis.randomness import Index, below, unit
from tenant_ops.datasets.synthesis.samples import Sample
from tenant_ops.platform.errors import InputError

if TYPE_CHECKING:
    from tenant_ops.datasets.synthesis.rows import Rows, World

Recipe = Callable[["Rows", Column, Sample], Values]
Pick = Callable[["Rows", ForeignKey, Sample], Index]


# ---- which parent row ----


def pick(rows: Rows, key: ForeignKey, sample: Sample) -> Index:
    """`pick [skewed] [within=0.95]`: any parent; early ones far more often; only the first 95 %."""
    total = rows.world.count(key.references)
    within = max(1, int(total * float(sample.options.get("within", "1"))))
    drawn = rows.bits(*key.columns)
    return randomness.skewed(drawn, within) if "skewed" in sample.arguments else below(drawn, within)


def through(rows: Rows, key: ForeignKey, sample: Sample) -> Index:
    """`through session_id`: the row that the row named by `session_id` refers to."""
    between = rows.parent(sample.arguments[0])
    for name, other in between.layout.owner.items():
        if other.references == key.references:
            return between.parent(name).index
    raise InputError(
        f"{sample.arguments[0]!r} does not lead to {key.references!r}.",
        where=f"{rows.dataset.name}.{key.columns[0]}",
    )


def group(rows: Rows, key: ForeignKey, sample: Sample) -> Index:
    """`group`: the rows of one parent stand together; see `first_of_group`."""
    parents = rows.world.count(key.references)
    guess = -(-(rows.index + 1) * parents // rows.count) - 1  # right if no edge were moved
    # An edge is moved by less than half a group, so the true parent is the guess or its neighbour.
    guess = guess + (rows.index >= first_of_group(rows, key, guess + 1))
    return guess - (rows.index < first_of_group(rows, key, guess))


def first_of_group(rows: Rows, key: ForeignKey, parent: Index) -> Index:
    """The number of the first row of each parent's group; most hold 0.1 to 1.9 times the mean."""
    parents = rows.world.count(key.references)
    purpose = f"{rows.dataset.name}/{'/'.join(key.columns)}/edges"
    most = 0.9 * max(0.0, rows.count / parents - 1)  # edges stay in order, and where they are in tiny groups
    shift = (unit(randomness.bits(rows.world.seed, purpose, parent)) - 0.5) * most
    edge = parent * rows.count // parents + shift.astype(np.int64)
    return np.where(parent <= 0, 0, np.where(parent >= parents, rows.count, edge))


# ---- numbers, choices, times ----


def choice(rows: Rows, column: Column, sample: Sample) -> Values:
    """`choice a b b`: one of these; a value written twice is twice as frequent."""
    return listed(column, sample.arguments).at(below(rows.bits(column.name), len(sample.arguments)))


def weighted(rows: Rows, column: Column, sample: Sample) -> Values:
    """`weighted a=90 b=10 [last=c:0.05]`: by weight; row 0 takes the first, the last rows may take another.

    So a weighted status always occurs in its first form at least once.
    """
    weights = {name: float(weight) for name, weight in sample.options.items() if name != "last"}
    last, _, share = sample.options.get("last", f"{next(iter(weights))}:0").partition(":")
    edges = np.cumsum(list(weights.values()))
    drawn = np.searchsorted(edges, unit(rows.bits(column.name)) * edges[-1], side="right")
    chosen = np.where(rows.index >= rows.count - int(rows.count * float(share)), len(weights), drawn)
    return listed(column, [*weights, last]).at(np.where(rows.index == 0, 0, chosen))


def cycle(rows: Rows, column: Column, sample: Sample) -> Values:
    """`cycle ordinal a b`: a for ordinal 1, b for 2, a for 3."""
    by, *values = sample.arguments
    return listed(column, values).at((np.asarray(rows.values(by)) - 1) % len(values))


def bell(rows: Rows, column: Column, sample: Sample) -> Values:
    """`bell low high`: a number or date between them, more often near the middle."""
    low, high = (int(parse(column, text)) for text in sample.arguments)
    return low + randomness.bell(rows.bits(column.name), high - low + 1)


def skewed(rows: Rows, column: Column, sample: Sample) -> Values:
    """`skewed low high`: a number between them, small ones far more often."""
    low, high = (int(parse(column, text)) for text in sample.arguments)
    return low + randomness.skewed(rows.bits(column.name), high - low + 1, power=5)


def rising(rows: Rows, column: Column, sample: Sample) -> Values:
    """`rising 0 0.6`: a moment within that part of the calendar, later for later rows."""
    calendar = rows.world.calendar
    first, last = (calendar.start + int((calendar.end - calendar.start) * float(x)) for x in sample.arguments)
    step = (last - first) // rows.count
    return first + rows.index * step + below(rows.bits(column.name), max(1, step))


def between(rows: Rows, column: Column, sample: Sample) -> Values:
    """`between user_id.created_at end`: a moment between two columns; `end` is the calendar's last."""
    low, high = (_moment(rows, text) for text in sample.arguments)
    return low + below(rows.bits(column.name), high - low + 1)


def after(rows: Rows, column: Column, sample: Sample) -> Values:
    """`after started_at 60 7200 [most=user_id.last_seen_at]`: that many seconds later, never past `most`."""
    start, least, longest = sample.arguments
    spread = (int(longest) - int(least)) * 1000 + 1
    drawn = randomness.skewed(rows.bits(column.name), spread, power=3)
    moments = _moment(rows, start) + int(least) * 1000 + drawn
    ceiling = _moment(rows, sample.options.get("most", "end"))
    return np.maximum(_moment(rows, start), np.minimum(moments, ceiling))


def next_morning(rows: Rows, column: Column, sample: Sample) -> Values:
    """`next_morning day`: six minutes past the midnight that ends that day."""
    return (np.asarray(rows.values(sample.arguments[0])) + 1) * DAY_MS + 360_000


def spread(rows: Rows, column: Column, sample: Sample) -> Values:
    """`spread parent.started_at parent.ended_at parent`: evenly over the group, its ends included."""
    low, high = (_moment(rows, text) for text in sample.arguments[:2])
    key = rows.key_of(sample.arguments[2])
    parent = rows.parent(sample.arguments[2]).index
    first, beyond = first_of_group(rows, key, parent), first_of_group(rows, key, parent + 1)
    return low + (high - low) * (rows.index - first) // np.maximum(beyond - first - 1, 1)


def at_most(rows: Rows, column: Column, sample: Sample) -> Values:
    """`at_most track_id.duration_ms [whole=0.6]`: up to that number; exactly it for 60 % of the rows."""
    limit = np.asarray(rows.look_up(sample.arguments[0]))
    part = below(rows.bits(column.name), limit + 1)
    whole = unit(rows.bits(column.name, "whole")) < float(sample.options.get("whole", "0"))
    return np.where(whole, limit, part)


def reaches(rows: Rows, column: Column, sample: Sample) -> Values:
    """`reaches played_ms track_id.duration_ms`: whether the first is at least the second."""
    first, second = (np.asarray(rows.look_up(text)) for text in sample.arguments)
    return first >= second


def ordinal(rows: Rows, column: Column, sample: Sample) -> Values:
    """`ordinal playlist_id`: 1, 2, 3 within the group."""
    key, parent = rows.key_of(sample.arguments[0]), rows.parent(sample.arguments[0]).index
    return rows.index - first_of_group(rows, key, parent) + 1


def total(rows: Rows, column: Column, sample: Sample) -> Values:
    """`total ai_messages.tokens`: the sum over the row's group in another dataset."""
    child, _, name = sample.arguments[0].partition(".")
    any_child = rows.world.rows(child, np.zeros(0, np.int64))
    key = next(key for key in any_child.dataset.foreign_keys if key.references == rows.dataset.name)
    first = first_of_group(any_child, key, rows.index)
    sizes = first_of_group(any_child, key, rows.index + 1) - first
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    numbers = np.asarray(rows.world.rows(child, np.repeat(first, sizes) + place).values(name))
    running = np.concatenate(([0], np.cumsum(numbers)))
    ends = np.cumsum(sizes)
    return running[ends] - running[ends - sizes]


def times(rows: Rows, column: Column, sample: Sample) -> Values:
    """`times total_tokens 0.000015`: a number times a factor."""
    name, factor = sample.arguments
    return np.asarray(rows.values(name)) * int(parse(column, factor))


def rollup(rows: Rows, column: Column, sample: Sample) -> Values:
    """`rollup day metric plays=listening_events@played_at`: the figure of the row's day and metric.

    A figure counts a dataset's rows by the day of a moment, or (`m=events.played_ms/60000@played_at`) sums a
    column and divides, or (`a=sessions#user_id@started_at`) counts different parents.
    """
    day, metric = (rows.values(name) for name in sample.arguments)
    days = np.asarray(day) - rows.world.calendar.start // DAY_MS
    figures = np.zeros(len(rows.index), np.int64)
    for name, formula in sample.options.items():
        here = np.asarray(pc.equal(arrow(metric), name))
        if here.any():
            figures[here] = _figures(rows.world, formula, scale(column))[days[here]]
    return figures


def _figures(world: World, formula: str, decimals: int) -> Index:
    """One figure per day, in units of 10^-decimals."""
    if formula in world.remembered:
        return world.remembered[formula]
    what, _, moment = formula.partition("@")
    what, _, divisor = what.partition("/")
    dataset, mark, name = what.partition("#") if "#" in what else what.partition(".")
    sums = np.zeros(world.calendar.days, np.int64)
    seen: list[Index] = []
    for start in range(0, world.count(dataset), 65_536):
        rows = world.rows(dataset, np.arange(start, min(start + 65_536, world.count(dataset))))
        days = (np.asarray(rows.values(moment)) - world.calendar.start) // DAY_MS
        if mark == "#":
            seen.append(np.unique(days << 40 | rows.parent(name).index))
        else:
            worth = np.asarray(rows.values(name)) if name else np.ones(len(days), np.int64)
            np.add.at(sums, days, worth)
    if seen:
        sums += np.bincount(np.unique(np.concatenate(seen)) >> 40, minlength=world.calendar.days)
    given = scale(world.catalog[dataset].by_name[name]) if name and mark != "#" else 0
    world.remembered[formula] = sums * 10**decimals // (int(divisor or 1) * 10**given)
    return world.remembered[formula]


def _moment(rows: Rows, text: str) -> Index:
    if text == "end":
        return np.full(len(rows.index), rows.world.calendar.end - 1)
    return np.asarray(rows.look_up(text))


PICKS: Mapping[str, Pick] = {"pick": pick, "through": through, "group": group}
RECIPES: Mapping[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (
        after,
        at_most,
        bell,
        between,
        choice,
        cycle,
        next_morning,
        ordinal,
        reaches,
        rising,
        rollup,
        skewed,
        spread,
        times,
        total,
        weighted,
        *wording.RECIPES,
    )
}
