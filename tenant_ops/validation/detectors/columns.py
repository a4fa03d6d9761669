"""Deciding from a sample whether a column holds personal data or secrets.

Here: counting and the bound. Not here: taking the sample (`levels/security/values.py`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import orjson

from tenant_ops.validation.detectors.detector import Detector, leaves
from tenant_ops.validation.detectors.telling import kinds_in

Z = 1.96
"""95 % two-sided."""


@dataclass(frozen=True)
class Verdict:
    """A column seems to hold something.

    Attributes:
        detector: What it seems to hold.
        matching: Values of the sample that have one.
        sampled: Values of the sample that are not empty.
        at_least: Share of all values that have one, by the lower end of the 95 % Wilson interval.
    """

    detector: Detector
    matching: int
    sampled: int
    at_least: float


def wilson_lower(matching: int, sampled: int, z: float = Z) -> float:
    """The lower end of the Wilson score interval of a share (E. B. Wilson, 1927); 0 for an empty sample."""
    if sampled == 0:
        return 0.0
    share = matching / sampled
    middle = share + z * z / (2 * sampled)
    spread = z * sqrt(share * (1 - share) / sampled + z * z / (4 * sampled * sampled))
    return max(0.0, (middle - spread) / (1 + z * z / sampled))


def judge(
    values: Iterable[str | None], detectors: Sequence[Detector], *, documents: bool = False
) -> tuple[Verdict, ...]:
    """What a column seems to hold, of a sample of its values.

    Args:
        values: The sample; empty values count for nothing.
        detectors: What to look for.
        documents: Whether the values are JSON, whose texts and numbers are looked at one by one as well.
    """
    counts = Counter(value for value in values if value)
    sampled = sum(counts.values())
    matching: Counter[str] = Counter()
    for value, times in counts.items():
        for name in _in_document(value, detectors) if documents else kinds_in(value, detectors):
            matching[name] += times
    verdicts = (
        Verdict(one, matching[one.name], sampled, wilson_lower(matching[one.name], sampled))
        for one in detectors
        if matching[one.name]
    )
    return tuple(one for one in verdicts if one.at_least >= one.detector.share)


def _in_document(value: str, detectors: Sequence[Detector]) -> set[str]:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:  # cut off, as long ones are
        return kinds_in(value, detectors)
    found = kinds_in(value, [one for one in detectors if not one.whole])
    for _, text in leaves(document):
        found |= kinds_in(text, [one for one in detectors if one.whole])
    return found
