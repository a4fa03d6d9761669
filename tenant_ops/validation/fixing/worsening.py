"""Whether a fix made anything worse: every rule that reads what it touched, before and after.

Here: which rules those are, and the comparison. Not here: checking a rule (`examination.py`).
"""

from collections.abc import Iterable, Sequence

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.examination import NO_ROWS, Examined, examine
from tenant_ops.validation.fixing.changes import Change
from tenant_ops.validation.fixing.images import Refused
from tenant_ops.validation.fixing.rights import RestoreRights
from tenant_ops.validation.fixing.structure import PutBack
from tenant_ops.validation.report import FixStep
from tenant_ops.validation.rules import Joined, Look, Rule

Counts = tuple[dict[str, int], frozenset[str]]
"""What is found by key, and the rules that could not be checked."""


class Judge:
    """Holds what rules find before a change against what they find after it."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)

    def concerned(self, change: Change, step: FixStep) -> list[Rule]:
        """The rules a step could make worse.

        Of a change of rows, those that read its tables, and those that do not say what they read; counters of
        the server move with every write and prove nothing. Of a change of tables or rights, those that look
        at catalogs besides.
        """
        touched = {step.dataset, *(name for name, _ in step.touches)}
        catalogs = isinstance(change, PutBack | RestoreRights)
        return [
            rule
            for rule in self._rules
            if (
                rule.level in {"schema", "security"}
                if isinstance(rule.find, Look) and catalogs
                else not isinstance(change, RestoreRights) and _reads(rule, touched)
            )
        ]

    def counts(self, evidence: Evidence, rules: Sequence[Rule]) -> Counts:
        """What the rules find now."""
        examined = Examined()
        examine(evidence, rules, samples=0, into=examined)
        found = {finding.key: finding.count for finding in examined.findings}
        return found, frozenset(one.rule for one in examined.unchecked if one.reason != NO_ROWS)

    def compare(
        self, evidence: Evidence, rules: Sequence[Rule], before: Counts, steps: Sequence[FixStep]
    ) -> None:
        """Refuse what made a rule worse, or none better.

        Raises:
            Refused: naming the rule.
        """
        if not rules:
            return
        after = self.counts(evidence, rules)
        worse = sorted(key for key, count in after[0].items() if count > before[0].get(key, 0))
        if worse:
            raise Refused(f"It would break {worse[0]}.")
        unchecked = sorted(after[1] - before[1])
        if unchecked:
            raise Refused(f"Afterwards {unchecked[0]} could not be checked.")
        for step in steps:
            key = f"{step.rule}/{step.subject}"
            if key in before[0] and after[0].get(key, 0) >= before[0][key]:
                raise Refused("It would not help.")


def _reads(rule: Rule, touched: set[str]) -> bool:
    if isinstance(rule.find, Look):
        return rule.level in {"data", "business"}
    if rule.dataset is None:
        return True
    beside = rule.find.to if isinstance(rule.find, Joined) else ()
    return bool(touched & {rule.dataset, *rule.needs, *beside})
