"""Rules from outside: of installed packages and of listed modules, beside the shipped ones.

Here: finding them, and what makes them unusable for a catalog. Not here: what a rule is (`rules.py`), what
its function may do (`guard.py`), trying its SQL on tables (`rule_trials.py`).

A package registers its module under the entry point group `tenant_ops.rules`; a module that is not installed
is listed in `TENANT_OPS_RULES`. Of a package all modules are taken. Each is imported once per process.
"""

import importlib
import pkgutil
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

from tenant_ops.datasets import Catalog
from tenant_ops.platform.errors import InputError, TenantOpsError, first_line
from tenant_ops.validation.guard import guarded
from tenant_ops.validation.joining import joined_tables
from tenant_ops.validation.levels import applies, shipped_rules
from tenant_ops.validation.rules import LEVELS, SEVERITIES, Frame, Joined, Look, Rows, Rule, Where

GROUP = "tenant_ops.rules"
SETTING = "TENANT_OPS_RULES"


@dataclass(frozen=True)
class KnownRule:
    """A rule and where it comes from.

    Attributes:
        rule: The rule.
        source: `shipped`, `TENANT_OPS_RULES`, `given`, or the entry point and the package that has it.
    """

    rule: Rule
    source: str

    @property
    def shipped(self) -> bool:
        """Whether it is part of the project."""
        return self.source == "shipped"

    @property
    def place(self) -> str:
        """What made it, and how it was found, for an error about it."""
        return f"{self.rule.origin or self.rule.id} ({self.source})"


def known_rules(
    catalog: Catalog, listed: Sequence[str] = (), given: Iterable[Rule | str] = ()
) -> tuple[KnownRule, ...]:
    """Every rule there is for the catalog: shipped, of installed packages, of listed modules, and given.

    Args:
        catalog: The datasets the rules are about.
        listed: Modules of `TENANT_OPS_RULES`.
        given: Further rules, or modules of rules.

    Raises:
        InputError: a module cannot be imported or holds no rule, two rules share an id, or a rule does not
            fit the catalog; module and function are named.
    """
    given = tuple(given)
    modules = tuple(one for one in given if isinstance(one, str))
    own = [
        *_found(tuple(listed), modules),
        *(KnownRule(one, "given") for one in given if isinstance(one, Rule)),
    ]
    fitting = [one for one in own if one.rule.catalog in (None, catalog.name)]
    for one in fitting:
        must_fit(one, catalog)
    known = (
        *(KnownRule(rule, "shipped") for rule in shipped_rules(catalog)),
        *(replace(one, rule=guarded(one.rule)) for one in fitting),
    )
    _must_differ(known)
    return known


@cache
def _found(listed: tuple[str, ...], given: tuple[str, ...]) -> tuple[KnownRule, ...]:
    sources: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.module, point.name)):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"
        source = f"entry point {point.name} of {package}"
        if point.attr:
            raise InputError(
                f"it names {point.value!r}.",
                where=source,
                fix=f"Name the module alone: {point.name} = {point.module!r}.",
            )
        sources.setdefault(point.module, source)
    for module in listed:
        sources.setdefault(module, SETTING)
    for module in given:
        sources.setdefault(module, "given")
    found: list[KnownRule] = []
    taken: set[int] = set()
    for name, source in sources.items():
        rules = [
            (attribute, module, rule)
            for module in _modules(name, source)
            for attribute, rule in _rules_of(module)
            if not rule.origin.startswith("tenant_ops.")  # a shipped rule that was imported
        ]
        if not rules:
            raise InputError(
                "it holds no rule.",
                where=_where(name, source),
                fix="Put @rule(...) above a function there, or take the module off the list.",
            )
        for attribute, module, rule in rules:
            if id(rule) not in taken:
                taken.add(id(rule))
                origin = rule.origin or f"{module.__name__}.{attribute}"
                found.append(KnownRule(replace(rule, origin=origin), source))
    return tuple(found)


def _modules(name: str, source: str) -> Iterator[ModuleType]:
    """The module, and those within it when it is a package."""
    module = _imported(name, source)
    yield module
    for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
        yield from _modules(f"{name}.{inner.name}", source)


def _imported(name: str, source: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TenantOpsError as error:
        raise InputError(error.problem, where=f"{error.where or name} ({source})", fix=error.fix) from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"there is no module {error.name!r}.",
                where=_where(name, source),
                fix="Correct its name, install its package, or put its folder on PYTHONPATH.",
            ) from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"it cannot be imported: {type(error).__name__}: {first_line(error)} "
            f"({last.filename}, line {last.lineno}).",
            where=_where(name, source),
            fix=f'See all of it with: python -c "import {name}"',
        ) from error


def _rules_of(module: ModuleType) -> Iterator[tuple[str, Rule]]:
    """The module's rules by name: those at its top, and those in its lists and tuples."""
    for name, value in list(vars(module).items()):
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Rule):
                yield name, one


def must_fit(one: KnownRule, catalog: Catalog) -> None:
    """Refuse a rule that could never be checked on this catalog.

    Raises:
        InputError: it names a dataset or column the catalog lacks, or lacks a dataset itself.
    """
    rule = one.rule
    if rule.level not in LEVELS or rule.severity not in SEVERITIES:
        raise InputError(
            f"it has the level {rule.level!r} and the severity {rule.severity!r}.",
            where=one.place,
            fix=f"Levels: {', '.join(LEVELS)}. Severities: {', '.join(SEVERITIES)}.",
        )
    if not applies(rule, catalog):
        names = (*((rule.dataset,) if rule.dataset else ()), *rule.needs)
        missing = next(name for name in names if name not in catalog)
        raise InputError(
            f"the catalog {catalog.name!r} has no dataset {missing!r}.",
            where=one.place,
            fix=f"It has: {', '.join(sorted(catalog.names))}. A rule meant for another catalog says so: "
            "@rule(..., catalog='its name').",
        )
    if not isinstance(rule.find, Where | Joined | Rows | Frame | Look):
        raise InputError("it finds nothing.", where=one.place, fix="Give it Where, Joined, Rows or Frame.")
    if isinstance(rule.find, Where | Joined | Frame) and rule.dataset is None:
        raise InputError(
            f"a {type(rule.find).__name__} is about rows of a dataset, and it names none.",
            where=one.place,
            fix="Add dataset=... to @rule.",
        )
    try:
        if isinstance(rule.find, Joined):
            joined_tables(catalog, catalog[rule.dataset or ""], rule.find.to)
        if isinstance(rule.find, Frame):
            _must_have(catalog, rule.dataset or "", rule.find.columns)
    except InputError as error:
        raise InputError(error.problem, where=one.place, fix=error.fix) from None


def _must_have(catalog: Catalog, dataset: str, columns: Sequence[str]) -> None:
    names = catalog[dataset].column_names
    unknown = [name for name in columns if name not in names]
    if unknown:
        raise InputError(
            f"the dataset {dataset} has no column {unknown[0]!r}.", fix=f"It has: {', '.join(names)}."
        )


def _must_differ(known: Sequence[KnownRule]) -> None:
    by_id: dict[str, KnownRule] = {}
    for one in known:
        other = by_id.setdefault(one.rule.id, one)
        if other is not one:
            raise InputError(
                f"two rules have the id {one.rule.id!r}: {other.place} and {one.place}.",
                fix="Give the function of one of them another name.",
            )


def _where(module: str, source: str) -> str:
    return f"{module} ({source})"
