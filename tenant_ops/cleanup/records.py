"""What cleanup says: rules, plans and reports, as frozen values.

Here: the values and a plan's digest. Not here: how they come about.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Literal, get_args

from tenant_ops.platform.reports import dumps

Type = Literal["expired", "quarantine", "stages", "files", "trash", "cache"]
TYPES: tuple[str, ...] = get_args(Type)
# A cache is not old, only disposable: it is cleared when somebody asks for it, never by a schedule.
DEFAULT_TYPES = tuple(name for name in TYPES if name != "cache")


@dataclass(frozen=True)
class Rule:
    """What may go from one place.

    Attributes:
        type: The kind of cleanup.
        subject: Table, folder or prefix.
        column: The column whose age decides, for tables.
        days: Age in days from which things go; None for what has no age.
        cutoff: The moment that many days before the plan was made.
        because: Who says so.
    """

    type: Type
    subject: str
    column: str
    days: int | None
    cutoff: datetime
    because: str


@dataclass(frozen=True)
class CleanupItem:
    """What would go from one place.

    Attributes:
        type: The kind of cleanup.
        subject: Table, folder or prefix.
        unit: What is counted. `links` are references that stay as rows but become empty.
        count: How many go.
        bytes: Their size where it is known, indexes left out.
        oldest: The earliest of them, by the column or file time that decides.
        newest: The latest of them.
        cascaded: Of `count`, rows not past a time of their own, which go with a row they refer to.
        held: Rows past their time that stay, because rows that stay need them.
        undoable: Whether `undo_cleanup` brings them back.
    """

    type: Type
    subject: str
    unit: Literal["rows", "links", "tables", "files", "keys"]
    count: int
    bytes: int | None = None
    oldest: datetime | None = None
    newest: datetime | None = None
    cascaded: int = 0
    held: int = 0
    undoable: bool = False


@dataclass(frozen=True)
class CleanupPlan:
    """Exactly what a cleanup would remove: the dry run.

    Attributes:
        tenant: Slug.
        tenant_id: Id, so that a plan is never carried out on a later tenant of that name.
        made_at: When it was counted; every cutoff is worked out from this moment.
        rules: What was looked for.
        items: What was found; only places where something goes or is held.
        notes: What could not be looked at, and why.
        digest: SHA-256 of all the above.
    """

    tenant: str
    tenant_id: str
    made_at: datetime
    rules: tuple[Rule, ...]
    items: tuple[CleanupItem, ...]
    notes: tuple[str, ...] = ()
    digest: str = ""

    @property
    def rows(self) -> int:
        """Rows that go."""
        return sum(item.count for item in self.items if item.unit == "rows")

    def sealed(self) -> "CleanupPlan":
        """The plan with the digest of its content."""
        content = asdict(replace(self, digest=""))
        return replace(self, digest=hashlib.sha256(dumps(content)).hexdigest())


@dataclass(frozen=True)
class CleanedItem:
    """What went from one place; `left` is what should have gone and is still there, because it was in use."""

    type: Type
    subject: str
    unit: str
    planned: int
    done: int
    left: int = 0


@dataclass(frozen=True)
class CleanupReport:
    """What a cleanup did.

    Attributes:
        tenant: Slug.
        cleanup_id: What `undo_cleanup` takes; None when nothing can be undone.
        plan: Digest of the plan carried out.
        items: By place.
        rows: Rows removed.
        backup: Safety copy taken first.
        undo_until: Until when it can be undone.
        notes: What an operator should know.
        seconds: Wall-clock time.
    """

    tenant: str
    cleanup_id: str | None
    plan: str
    items: tuple[CleanedItem, ...]
    rows: int
    backup: str | None
    undo_until: datetime | None
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class RestoredItem:
    """What came back to one table; `kept_back` rows could not, because their key or their parent changed."""

    subject: str
    unit: Literal["rows", "links"]
    restored: int
    kept_back: int


@dataclass(frozen=True)
class UndoReport:
    """What undoing a cleanup brought back."""

    tenant: str
    cleanup_id: str
    items: tuple[RestoredItem, ...]
    rows: int
    seconds: float


@dataclass(frozen=True)
class PastCleanup:
    """A cleanup whose rows are in the trash, or were.

    Attributes:
        state: `undoable`, `undone` or `purged`.
    """

    cleanup_id: str
    tenant: str
    tables: tuple[str, ...]
    rows: int
    made_at: datetime
    expires_at: datetime
    state: Literal["undoable", "undone", "purged"]
