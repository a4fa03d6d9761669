"""Incremental validation: rules a tenant kept are checked again only on what its journal says changed.

Here: where the last validation stood, which rules it may be trusted for, and what of them is to be read.
Not here: the journal (`backups/journal/`), examining (`examination.py`).

It finds what reading everything would find, because it leaves out only what cannot have changed:

- A rule counts as kept when it was checked on all rows and found nothing, and its text, its tier's limits and
  the version of the definitions are the same. A rule that asks for the time is never kept: rows that no one
  touched come to break it.
- A condition on a dataset's own row is checked on the rows written since. Any other query is asked again in
  full as soon as one of the tables it names was written to. Rules that look at catalogs, or are functions of
  frames, are always checked.
- The position is taken before anything is read, and transactions that were open then are in the next one's
  changes. Where the journal cannot vouch for every change since, everything is read, and the reason is told.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from psycopg.types.json import Jsonb

from tenant_ops.backups.journal import Anchor, ChainBroken, ChangedRows, changes_since, keep, read_anchor
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.datasets import Catalog
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.report import Saved
from tenant_ops.validation.rules import Joined, Rows, Rule, Where

if TYPE_CHECKING:
    from tenant_ops.validation.examination import Examined  # which leaves out what is said here

Scope = Literal["none", "changed", "whole"]

# What gives another answer tomorrow for a row that stays the same.
_TIMELY = re.compile(
    r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|age|random|gen_random_uuid"
    r"|current_date|current_time|current_timestamp|localtime|localtimestamp)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Since:
    """What is known from the last validation, and what changed after it.

    Attributes:
        kept: By rule that was kept, the digest of what it asked.
        changed: By table that may have changed, its rows; all others are as they were.
    """

    kept: Mapping[str, str]
    changed: Mapping[str, ChangedRows]

    def scope(self, evidence: Evidence, rule: Rule) -> Scope:
        """How much a rule has to read to find what is wrong now."""
        if self.kept.get(rule.id) is None or self.kept[rule.id] != digest(evidence.background, rule):
            return "whole"
        tables = _tables(rule, evidence.catalog)
        written = tables & self.changed.keys()
        if not written:
            return "none"
        own = isinstance(rule.find, Where) and tables == {rule.dataset} and rule.dataset is not None
        return "changed" if own and self.changed[rule.dataset or ""].query is not None else "whole"


@dataclass(frozen=True)
class GoingOn:
    """Where a validation begins.

    Attributes:
        position: Where the journal stands now; None where there is none.
        since: What is known from before; None: nothing, for the reason.
        went_on_from: The moment of the last validation.
    """

    position: Anchor | None
    since: Since | None
    reason: str = ""
    went_on_from: str | None = None
    counted: tuple[tuple[str, int], ...] = field(default=())

    def told(self, examined: "Examined", rules: Sequence[Rule]) -> Saved:
        """For the report."""
        stood, partly = len(examined.stood), len(examined.partly)
        whole = len(rules) - stood - partly
        return Saved(self.went_on_from, self.reason, stood, partly, whole, self.counted)


def go_on(fleet: Fleet, tenant: Tenant) -> GoingOn:
    """Take a position, and look what is known and what changed since the last one."""
    last = _recall(fleet, tenant)
    try:
        with hold_snapshot(fleet, tenant) as snapshot:
            position = read_anchor(snapshot, tenant)
            if last is None:
                return GoingOn(position, None, "It is the first of its kind for this tenant.")
            anchor, kept = last
            try:
                changed = changes_since(snapshot, tenant, anchor)
            except ChainBroken as broken:
                return GoingOn(position, None, _sentence(broken))
    except ChainBroken as broken:
        return GoingOn(None, None, _sentence(broken))
    counted = tuple((name, rows.entries) for name, rows in sorted(changed.items()))
    return GoingOn(position, Since(kept, changed), "", anchor.taken_at, counted)


def remember(fleet: Fleet, tenant: Tenant, going_on: GoingOn, kept: Mapping[str, str]) -> None:
    """Note where the next validation may go on from, and for which rules; unless another noted more."""
    if going_on.position is None:
        return
    keep(fleet, tenant, going_on.position)
    anchor = asdict(going_on.position)
    with fleet.control.transaction() as connection:
        connection.execute(
            """
            INSERT INTO tenant_ops.validation_position AS known (tenant_id, anchor, kept, validated_at)
            VALUES (%s, %s, %s, %s::timestamptz)
            ON CONFLICT (tenant_id) DO UPDATE
            SET anchor = excluded.anchor, kept = excluded.kept, validated_at = excluded.validated_at
            WHERE known.validated_at <= excluded.validated_at
            """,
            (tenant.id, Jsonb(anchor), Jsonb(dict(kept)), anchor["taken_at"]),
        )


def kept_rules(background: Background, rules: Sequence[Rule], examined: "Examined") -> dict[str, str]:
    """The rules the tenant keeps for sure, with the digest of what each asks.

    Rules of levels that were not looked at are not among them: what changed meanwhile is not known for them.
    """
    broken: Collection[str] = {finding.rule for finding in examined.findings}
    unsure = {one.rule for one in (*examined.unchecked, *examined.sampled)}
    return {
        rule.id: asked
        for rule in rules
        if rule.id not in broken and rule.id not in unsure and (asked := digest(background, rule))
    }


def digest(background: Background, rule: Rule) -> str:
    """What the rule asks of this tenant; empty for rules that are always checked in full."""
    if not isinstance(rule.find, Where | Joined | Rows) or _TIMELY.search(_text(rule)):
        return ""
    asked = (rule.find, rule.dataset, rule.needs, background.tenant.tier, background.catalog.version)
    return sha256(repr(asked).encode()).hexdigest()


def _tables(rule: Rule, catalog: Catalog) -> set[str]:
    """The datasets the rule reads: its own, those it says it needs, and those its text names."""
    named = set(re.findall(r"\w+", _text(rule))) & set(catalog.names)
    to = rule.find.to if isinstance(rule.find, Joined) else ()
    return named | {*rule.needs, *to} | ({rule.dataset} if rule.dataset else set())


def _text(rule: Rule) -> str:
    match rule.find:
        case Where(condition) | Joined(condition, _):
            return condition
        case Rows(query, _):
            return query
        case _:
            return ""


def _recall(fleet: Fleet, tenant: Tenant) -> tuple[Anchor, dict[str, str]] | None:
    with fleet.control.transaction() as connection:
        row = connection.execute(
            "SELECT anchor, kept FROM tenant_ops.validation_position WHERE tenant_id = %s", (tenant.id,)
        ).fetchone()
    return (Anchor(**row[0]), row[1]) if row else None


def _sentence(broken: ChainBroken) -> str:
    why = f"{broken.reason}: {broken.detail}" if broken.detail else broken.reason
    return f"The journal cannot tell what changed ({why})."
