"""What a rule is: the one model that shipped, derived and users' own rules share.

Here: rules, the three ways to find what breaks one, the fixes one may offer, and the decorator that makes
one of a function. Not here: the shipped rules (`levels/`), running them (`run.py`), fixing (`fixes.py`).
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from tenant_ops.validation.evidence import Evidence

Level = Literal["schema", "data", "business", "performance", "security"]
Severity = Literal["critical", "error", "warning", "info"]
LEVELS: tuple[Level, ...] = get_args(Level)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Where:
    """Rows of the rule's dataset for which this SQL condition is true are bad.

    All conditions on a dataset share one scan of it. A `%` is written twice, as in every query here.
    """

    condition: str


@dataclass(frozen=True)
class Rows:
    """Every row this SQL query returns is a problem; its columns name the row, best by primary key.

    It runs as the tenant's owner, reads only, and sees the tenant's tables by their bare names. It may name
    what is true of the tenant as parameters: the fields of its tier (`%(max_users)s`) and `%(now)s`.
    A query whose columns would say nothing selects none: `SELECT WHERE ...`.
    """

    query: str


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
class Rewrite:
    """A fix: set a text column to an SQL expression in the rows the rule finds; earlier values are kept."""

    column: str
    expression: str


@dataclass(frozen=True)
class Analyze:
    """A fix: let the server take fresh statistics of the dataset; there is nothing to undo."""


Find = Where | Rows | Look
Fix = Rewrite | Analyze


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
        fix: A change that mends it without losing anything, if there is one.
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
) -> Callable[[Callable[..., Find | Iterable[Sighting]]], Rule]:
    """Make a rule of a function: its name becomes the id, its docstring the description.

    A function without parameters returns the `Where` or `Rows` that finds what is wrong; one that takes the
    `Evidence` looks for itself and yields a `Sighting` for each problem.
    """

    def make(function: Callable[..., Find | Iterable[Sighting]]) -> Rule:
        looks = bool(inspect.signature(function).parameters)
        find = Look(function) if looks else function()  # pyright: ignore[reportArgumentType]
        assert isinstance(find, Where | Rows | Look), "a rule's function returns Where, Rows or a Look"
        return Rule(
            id=f"{level}.{function.__name__}",
            level=level,
            severity=severity,
            description=" ".join(inspect.cleandoc(function.__doc__ or "").split()),
            remediation=remediation,
            find=find,
            dataset=dataset,
            needs=needs,
            fix=fix,
        )

    return make
