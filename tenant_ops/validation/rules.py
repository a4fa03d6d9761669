"""What a rule is: the one model that shipped, derived and users' own rules share.

Here: rules, the ways to find what breaks one, the fixes one may offer, and the decorator that makes one of a
function. Not here: the shipped rules (`levels/`), finding those of others (`own_rules.py`), running them
(`run.py`), fixing (`fixing/`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from tenant_ops.platform.errors import InputError, TenantOpsError, first_line
from tenant_ops.validation.evidence import Evidence

if TYPE_CHECKING:
    import pandas as pd

Level = Literal["schema", "data", "business", "performance", "security"]
Severity = Literal["critical", "error", "warning", "info"]
Trust = Literal["safe", "reviewed", "never"]
"""Of a fix: applied by --auto-fix; only when its rule is named; by people only (dropping, masking)."""
Duplicates = Literal["keep-first", "keep-last", "keep-newest", "keep-complete"]
Strays = Literal["delete", "set-null", "quarantine"]
LEVELS: tuple[Level, ...] = get_args(Level)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Where:
    """Rows of the rule's dataset for which this SQL condition is true are bad.

    All conditions on a dataset share one scan of it. A `%` is written twice, as in every query here.
    """

    condition: str


@dataclass(frozen=True)
class Joined:
    """Rows of the rule's dataset for which this SQL condition is true, beside rows they refer to, are bad.

    The condition names columns by dataset: `listening_events.played_ms > tracks.duration_ms`. A row that
    refers to nothing sees NULL there. All of a dataset's conditions share one scan and its joins; whatever
    else a query may do takes `Rows`. A `%` is written twice.

    Attributes:
        condition: True for bad rows.
        to: The datasets it looks at besides, each by the one foreign key the rule's dataset has to it.
    """

    condition: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Every row this SQL query returns is a problem; its columns name the row, best by primary key.

    It runs as the tenant's owner, reads only, and sees the tenant's tables by their bare names. It may name
    what is true of the tenant as parameters: the fields of its tier (`%(max_users)s`) and `%(now)s`.
    A query whose columns would say nothing selects none: `SELECT WHERE ...`.

    Attributes:
        query: What finds the rows.
        sampled: The same on a part of a huge table, see `sampling.py`: `$sample` stands after the table's
            name, and its last column, `$unit AS sampled_unit`, says which page or row it is. Without it the
            whole table is read.
    """

    query: str
    sampled: str = ""


@dataclass(frozen=True)
class Sighting:
    """One problem a `Look` saw.

    Attributes:
        subject: The thing that is wrong: `tracks.isrc`, `role t_..._app`.
        message: What is wrong with it, without any of the tenant's data.
        dataset: The dataset it belongs to, if any.
        count: How many rows or objects it stands for.
    """

    subject: str
    message: str
    dataset: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Look:
    """A function that looks at the tenant from outside its rows: catalogs, roles, statistics.

    It raises `NotAvailable` where the server cannot tell, with the reason.
    """

    look: Callable[[Evidence], Iterable[Sighting]]


@dataclass(frozen=True)
class Frame:
    """A function that says which rows of the rule's dataset are bad, of a pandas frame of them.

    It is called with a part of the rows at a time, numbered from 0: what spans rows of two parts, as
    duplicates and references do, it cannot see, and takes `Rows`. Columns have the Arrow types rows are
    loaded with; those of the primary key are there without being listed.

    Attributes:
        columns: The columns the function reads.
        function: Gives a boolean for each row, true for bad ones, or the bad rows of the frame.
        chunk_rows: Rows in a part at most, which bounds memory.
    """

    columns: tuple[str, ...]
    function: Callable[[pd.DataFrame], pd.Series | pd.DataFrame]
    chunk_rows: int = 50_000

    @classmethod
    def of_schema(cls, schema: Any, *, chunk_rows: int = 50_000) -> Frame:
        """Rows a pandera schema, or a model class, refuses are bad. Its columns are those read.

        Raises:
            InputError: the schema asks for what no part of the rows can decide, or drops rows itself.
        """
        from tenant_ops.validation.frames import frame_of_schema  # pandas takes a second to import

        return frame_of_schema(schema, chunk_rows)


@dataclass(frozen=True)
class Rewrite:
    """A fix: set a column to an SQL expression in the rows the rule, a `Where`, finds."""

    column: str
    expression: str
    trust: ClassVar[Trust] = "safe"


@dataclass(frozen=True)
class FillDefault:
    """A fix: give rows without a value the default the column has in its definition."""

    column: str
    trust: ClassVar[Trust] = "safe"


@dataclass(frozen=True)
class Analyze:
    """A fix: let the server take fresh statistics of the dataset; there is nothing to undo."""

    trust: ClassVar[Trust] = "safe"


@dataclass(frozen=True)
class Reindex:
    """A fix: rebuild the index the finding is about (`tracks.tracks_artist_id_idx`)."""

    trust: ClassVar[Trust] = "safe"


@dataclass(frozen=True)
class AdvanceSequence:
    """A fix: set the sequence behind the column the finding is about (`tracks.number`) past its values."""

    trust: ClassVar[Trust] = "safe"


@dataclass(frozen=True)
class Dedupe:
    """A fix: of rows that share these columns keep one, and lead what refers to the others to it.

    Attributes:
        nulls_alike: Whether rows that are empty in a column count as sharing it; keys are not so.
    """

    columns: tuple[str, ...]
    nulls_alike: bool = False
    trust: ClassVar[Trust] = "reviewed"


@dataclass(frozen=True)
class Orphans:
    """A fix: delete, empty or quarantine rows whose reference by these columns leads to nothing."""

    columns: tuple[str, ...]
    trust: ClassVar[Trust] = "reviewed"


@dataclass(frozen=True)
class Regrant:
    """A fix: give the roles the rights and ownership provisioning gives, and take all others away."""

    trust: ClassVar[Trust] = "reviewed"


@dataclass(frozen=True)
class Restructure:
    """A fix: put back the constraint, index, default or NOT NULL the finding is about, as it is defined."""

    trust: ClassVar[Trust] = "reviewed"


@dataclass(frozen=True)
class Policies:
    """What is decided for reviewed fixes.

    Attributes:
        duplicates: Of rows that share a key, the one with the lowest primary key stays, the highest, the
            newest (by the dataset's `newest_by`, or the time of what happened), or the one with most columns
            filled; ties go to the lowest primary key.
        orphans: Rows that refer to nothing are deleted, lose their reference, or go to the quarantine, where
            a replay finds them once what they refer to is there.
    """

    duplicates: Duplicates = "keep-first"
    orphans: Strays = "quarantine"


Find = Where | Joined | Rows | Frame | Look
Fix = Rewrite | FillDefault | Analyze | Reindex | AdvanceSequence | Dedupe | Orphans | Regrant | Restructure


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for a tenant.

    Attributes:
        id: Stable name, `<level>.<...>`; findings keep it for ever.
        level: Which of the five levels it belongs to.
        severity: How bad it is when it does not hold.
        description: What must hold, in one sentence.
        remediation: What to do when it does not.
        find: How what breaks it is found.
        dataset: The dataset it is about; None: the tenant as a whole.
        subject: The thing within the dataset, `tracks.isrc`; empty: the dataset.
        needs: Further datasets it reads. It is left out where the catalog lacks one.
        fix: A change that mends it, if there is one; its class says how far it is trusted.
        catalog: The name of the only catalog it is meant for; None: any that has its datasets.
        origin: The function that makes it, as `module.function`; empty where a definition does.
        held_by: The constraint of the table, as kind and name, that lets no row in that breaks the rule.
    """

    id: str
    level: Level
    severity: Severity
    description: str
    remediation: str
    find: Find
    dataset: str | None = None
    subject: str = ""
    needs: tuple[str, ...] = ()
    fix: Fix | None = None
    catalog: str | None = None
    origin: str = ""
    held_by: tuple[str, str] | None = None

    @property
    def about(self) -> str:
        """What a finding of this rule is about, when the finding does not say it."""
        return self.subject or self.dataset or "tenant"


def rule(
    *,
    level: Level,
    severity: Severity,
    remediation: str,
    dataset: str | None = None,
    needs: tuple[str, ...] = (),
    fix: Fix | None = None,
    catalog: str | None = None,
) -> Callable[[Callable[..., Find | Iterable[Sighting]]], Rule]:
    """Make a rule of a function: its name becomes the id, its docstring the description.

    A function without parameters returns the `Where`, `Joined`, `Rows` or `Frame` that finds what is wrong;
    one that takes the `Evidence` looks for itself and yields a `Sighting` for each problem.

    Raises:
        InputError: level or severity is unknown, the function has no docstring, fails, or returns something
            else.
    """

    def make(function: Callable[..., Find | Iterable[Sighting]]) -> Rule:
        origin = f"{function.__module__}.{function.__qualname__}"
        description = " ".join(inspect.cleandoc(function.__doc__ or "").split())
        if not description:
            raise InputError(
                "the rule says nothing about itself.",
                where=origin,
                fix="Write in its docstring what must hold, in one sentence.",
            )
        _one_of("level", level, LEVELS, origin)
        _one_of("severity", severity, SEVERITIES, origin)
        return Rule(
            id=f"{level}.{function.__name__}",
            level=level,
            severity=severity,
            description=description,
            remediation=remediation,
            find=_find(function, origin),
            dataset=dataset,
            needs=needs,
            fix=fix,
            catalog=catalog,
            origin=origin,
        )

    return make


def _find(function: Callable[..., Find | Iterable[Sighting]], origin: str) -> Find:
    if inspect.signature(function).parameters:
        return Look(function)  # pyright: ignore[reportArgumentType]
    try:
        find = function()
    except TenantOpsError:
        raise
    except Exception as error:
        raise InputError(
            f"the rule's function raised {type(error).__name__}: {first_line(error)}",
            where=origin,
            fix="It is called once, when its module is imported, to say what to look for.",
        ) from error
    if not isinstance(find, Find):
        raise InputError(
            f"the rule's function returned {type(find).__name__}.",
            where=origin,
            fix="Return Where, Joined, Rows or Frame, or take the Evidence and yield a Sighting per problem.",
        )
    return find


def _one_of(what: str, value: str, known: tuple[str, ...], origin: str) -> None:
    if value not in known:
        raise InputError(
            f"there is no {what} {value!r}.", where=origin, fix=f"Choose from: {', '.join(known)}."
        )
