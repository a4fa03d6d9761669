"""Rules that compare a tenant's data with its own past: volume, empty values, distributions, freshness.

Here: telling. Not here: how far from usual is too far (`profiles/judging.py`).
"""

from collections.abc import Iterator

from tenant_ops.platform.errors import NotAvailable
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.profiles.judging import LEAST, Oddity, freshness, odd_fill, odd_values, volume
from tenant_ops.validation.profiles.measuring import measure
from tenant_ops.validation.profiles.values import DatasetProfile
from tenant_ops.validation.rules import Rule, Sighting, rule


def _with_a_past(evidence: Evidence) -> dict[str, tuple[DatasetProfile, list[DatasetProfile]]]:
    """The datasets that were profiled often enough, now and before; also keeps what was measured now."""
    background = evidence.background
    background.profiled.update(evidence.known(measure))
    if (past := len(background.profiles)) < LEAST:
        raise NotAvailable(f"Not known yet: it needs {LEAST} profiles of earlier days, and there are {past}.")
    found: dict[str, tuple[DatasetProfile, list[DatasetProfile]]] = {}
    for name, now in background.profiled.items():
        earlier = [one.datasets[name] for one in background.profiles if name in one.datasets]
        if len(earlier) >= LEAST:
            found[name] = now, earlier
    return found


def _sighting(dataset: str, oddity: Oddity) -> Sighting:
    return Sighting(f"{dataset}.{oddity.column}" if oddity.column else dataset, oddity.said, dataset)


@rule(
    level="data",
    severity="warning",
    remediation="Ask what deleted or added them; `backup restore --to` brings rows back as they were.",
)
def volume_as_usual(evidence: Evidence) -> Iterator[Sighting]:
    """Every dataset has about as many rows as it had on the days before."""
    for name, (now, earlier) in _with_a_past(evidence).items():
        if oddity := volume(now, earlier):
            yield _sighting(name, oddity)


@rule(
    level="data",
    severity="warning",
    remediation="Look at what writes the column since then: a field that was renamed comes in empty.",
)
def filled_as_usual(evidence: Evidence) -> Iterator[Sighting]:
    """Every column is filled about as often as on the days before."""
    for name, (now, earlier) in _with_a_past(evidence).items():
        for oddity in odd_fill(now, earlier):
            yield _sighting(name, oddity)


@rule(
    level="data",
    severity="info",
    remediation="Ask whether the business changed or a source did: units, defaults, a filter.",
)
def spread_as_usual(evidence: Evidence) -> Iterator[Sighting]:
    """The values of every column are spread about as on the days before."""
    for name, (now, earlier) in _with_a_past(evidence).items():
        for oddity in odd_values(now, earlier):
            yield _sighting(name, oddity)


@rule(
    level="data",
    severity="warning",
    remediation="Look whether its source still delivers.",
)
def fresh_as_usual(evidence: Evidence) -> Iterator[Sighting]:
    """Something new comes into every dataset about as often as on the days before."""
    background = evidence.background
    for name, (now, _) in _with_a_past(evidence).items():
        if oddity := freshness(name, background.now, now, background.profiles):
            yield _sighting(name, oddity)


HISTORY_RULES: tuple[Rule, ...] = (volume_as_usual, filled_as_usual, spread_as_usual, fresh_as_usual)
