"""Rules from outside: found by entry point or by listing their module, and refused with what to mend."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tenant_ops.api import DataValidator
from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import (
    Joined,
    KnownRule,
    Rule,
    Where,
    execute_validation,
    known_rules,
    plan_validation,
    shipped_rules,
    try_rules,
)
from tenant_ops.validation.own_rules import _found

Sound = tuple[Fleet, Tenant]
Install = Callable[..., None]

GOOD = '''
from tenant_ops.validation import Where, rule

@rule(level="business", severity="warning", dataset="tracks", remediation="Lower it.")
def cheap_track():
    """No track costs more than half."""
    return Where("price > 0.5")
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts modules (`0` for `/`) where Python finds them, and a distribution with entry points."""
    before = set(sys.modules)

    def put(entry_points: dict[str, str] | None = None, **modules: str) -> None:
        for name, text in modules.items():
            path = tmp_path / f"{name.replace('0', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        if entry_points:
            about = tmp_path / "acme_rules-1.2.dist-info"
            about.mkdir()
            (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.2\n")
            lines = [f"{name} = {value}" for name, value in entry_points.items()]
            (about / "entry_points.txt").write_text("\n".join(["[tenant_ops.rules]", *lines]))
        importlib.invalidate_caches()
        _found.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield put
    _found.cache_clear()
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def own(known: tuple[KnownRule, ...]) -> list[tuple[str, str]]:
    return [(one.rule.id, one.place) for one in known if not one.shipped]


def test_a_package_registers_its_module_by_entry_point(install: Install) -> None:
    install({"acme": "acme_rules"}, acme_rules=GOOD)
    place = "acme_rules.cheap_track (entry point acme of acme-rules 1.2)"
    assert own(known_rules(MUSIC)) == [("business.cheap_track", place)]


def test_a_module_is_listed_in_the_environment_and_taken_once(install: Install) -> None:
    install({"acme": "acme_rules"}, acme_rules=GOOD, more=GOOD.replace("cheap_track", "cheaper"))
    listed = Settings.load({"TENANT_OPS_RULES": " more, acme_rules ,"}).rules
    assert listed == ("more", "acme_rules")
    assert [name for name, _ in own(known_rules(MUSIC, listed))] == [
        "business.cheap_track",
        "business.cheaper",
    ]


def test_of_a_package_all_modules_are_taken_and_of_a_list_all_rules(install: Install) -> None:
    install(
        shop0__init__="",
        shop0prices=GOOD,
        shop0made="from tenant_ops.validation import Rule, Where\nfrom shop.prices import cheap_track\n"
        "RULES = [Rule(f'business.n{n}', 'business', 'info', 'So.', 'Do.', Where(f'price = {n}'), 'tracks') "
        "for n in range(2)]\n"
        "from tenant_ops.validation.levels.business.accounts import one_active_admin\n",
    )
    assert sorted(own(known_rules(MUSIC, ("shop",))), key=lambda one: one[1]) == [
        ("business.n0", "shop.made.RULES (TENANT_OPS_RULES)"),
        ("business.n1", "shop.made.RULES (TENANT_OPS_RULES)"),
        ("business.cheap_track", "shop.prices.cheap_track (TENANT_OPS_RULES)"),
    ]


FAULTY = {
    "no such module": (
        "nowhere.at_all",
        {},
        r"nowhere\.at_all \(TENANT_OPS_RULES\): there is no module 'nowhere'\..*PYTHONPATH",
    ),
    "a module that needs another": (
        "needy",
        {"needy": "import not_installed_anywhere"},
        r"needy \(TENANT_OPS_RULES\): it cannot be imported: ModuleNotFoundError.*needy\.py, line 1",
    ),
    "a syntax error": (
        "typo",
        {"typo": "def f(:\n"},
        r"typo \(TENANT_OPS_RULES\): it cannot be imported: SyntaxError",
    ),
    "a module without rules": (
        "empty",
        {"empty": "x = 1"},
        r"empty \(TENANT_OPS_RULES\): it holds no rule\. Put @rule",
    ),
    "a function that raises": (
        "raising",
        {"raising": GOOD.replace("return Where", "return 1 / 0 or Where")},
        r"raising\.cheap_track \(TENANT_OPS_RULES\): the rule's function raised ZeroDivisionError",
    ),
    "a function that returns nothing": (
        "silent",
        {"silent": GOOD.replace("return Where", "Where")},
        r"silent\.cheap_track .*returned NoneType\. Return Where, Joined, Rows or Frame",
    ),
    "a function without a docstring": (
        "mute",
        {"mute": GOOD.replace('"""No track costs more than half."""', "pass")},
        r"mute\.cheap_track .*says nothing about itself\..*docstring",
    ),
    "an unknown severity": (
        "severe",
        {"severe": GOOD.replace("warning", "fatal")},
        r"severe\.cheap_track .*no severity 'fatal'\. Choose from: critical",
    ),
    "an unknown level": (
        "level",
        {"level": GOOD.replace('level="business"', 'level="moral"')},
        r"level\.cheap_track .*no level 'moral'\.",
    ),
    "a dataset the catalog lacks": (
        "orders",
        {"orders": GOOD.replace('"tracks"', '"orders"')},
        r"orders\.cheap_track .*'music' has no dataset 'orders'\. It has: ai_messages.*catalog=",
    ),
    "a dataset it needs and the catalog lacks": (
        "needs",
        {"needs": GOOD.replace('"tracks"', '"tracks", needs=("orders",)')},
        r"needs\.cheap_track .*no dataset 'orders'",
    ),
    "a condition on no dataset": (
        "homeless",
        {"homeless": GOOD.replace('dataset="tracks", ', "")},
        r"homeless\.cheap_track .*a Where is about rows of a dataset, and it names none",
    ),
    "a join no reference makes": (
        "join",
        {
            "join": GOOD.replace("import Where", "import Joined").replace(
                'Where("', 'Joined(to=("users",), condition="'
            )
        },
        r"join\.cheap_track .*a Joined rule of tracks looks at 'users', to which 0 foreign keys lead",
    ),
    "a frame of unknown columns": (
        "frame",
        {"frame": GOOD.replace("Where", "Frame").replace('Frame("price > 0.5")', 'Frame(("cost",), len)')},
        r"frame\.cheap_track .*the dataset tracks has no column 'cost'\. It has: track_id",
    ),
    "the id of a shipped rule": (
        "again",
        {"again": GOOD.replace("cheap_track", "played_within_track")},
        r"two rules have the id 'business\.played_within_track': .*shipped.* and again\.played_within_track",
    ),
}


@pytest.mark.parametrize(("listed", "modules", "said"), FAULTY.values(), ids=FAULTY)
def test_what_is_wrong_is_said_with_module_function_and_remedy(
    install: Install, listed: str, modules: dict[str, str], said: str
) -> None:
    install(**modules)
    with pytest.raises(InputError, match=said):
        known_rules(MUSIC, (listed,))


def test_an_entry_point_names_a_module_alone(install: Install) -> None:
    install({"acme": "acme_rules:cheap_track"}, acme_rules=GOOD)
    with pytest.raises(InputError, match=r"entry point acme of acme-rules 1\.2: it names 'acme_rules:cheap"):
        known_rules(MUSIC)


def test_two_own_rules_of_one_id_are_both_named(install: Install) -> None:
    install(one=GOOD, two=GOOD)
    with pytest.raises(InputError, match=r"one\.cheap_track \(TENANT.* and two\.cheap_track \(TENANT"):
        known_rules(MUSIC, ("one", "two"))


def test_a_rule_for_another_catalog_waits_for_it(install: Install) -> None:
    install(theirs=GOOD.replace('"tracks"', '"tracks", catalog="shop"'))
    assert own(known_rules(MUSIC, ("theirs",))) == []
    shop = Catalog("shop", "1.0.0", MUSIC.datasets)
    assert [name for name, _ in own(known_rules(shop, ("theirs",)))] == ["business.cheap_track"]


def test_rules_found_run_in_every_validation_beside_those_given(install: Install, sound: Sound) -> None:
    install({"acme": "by_entry_point"}, by_entry_point=GOOD)
    install(listed=GOOD.replace("cheap_track", "listed"), given=GOOD.replace("cheap_track", "given"))
    fleet, tenant = sound
    fleet = replace(fleet, settings=replace(fleet.settings, rules=("listed",)))
    by_hand = Rule("business.by_hand", "business", "info", "So.", "Do.", Where("true"), "artists")
    report = execute_validation(
        fleet, plan_validation(fleet, tenant, types=["business"], rules=["given", by_hand])
    )
    assert {finding.rule for finding in report.findings} == {
        f"business.{name}" for name in ("cheap_track", "listed", "given", "by_hand")
    }


def test_the_python_api_takes_them_too(install: Install, sound: Sound) -> None:
    install(given=GOOD)
    validator = DataValidator(sound[0])
    report = asyncio.run(validator.validate_data("acme", validation_types=["business"], rules=["given"]))
    assert [finding.rule for finding in report.findings] == ["business.cheap_track"]


TRIED = '''
from tenant_ops.validation import Frame, Joined, Rows, Sighting, Where, rule

def about(name, find):
    def function():
        """It holds."""
        return find
    function.__name__ = name
    return rule(level="business", severity="info", dataset="tracks", remediation="Mend it.")(function)

RULES = [
    about("good", Rows("SELECT track_id FROM tracks WHERE price > %(max_users)s AND title LIKE '%%x'")),
    about("good_join", Joined("artists.followers < tracks.price", ("artists",))),
    about("good_frame", Frame(("price",), lambda frame: frame["price"] > 100)),
    about("unknown_column", Where("cost > 1")),
    about("syntax", Rows("SELEC track_id FROM tracks")),
    about("writes", Rows("DELETE FROM tracks RETURNING track_id")),
    about("writes_within", Rows("WITH gone AS (DELETE FROM tracks RETURNING 1) SELECT FROM gone")),
    about("two_statements", Rows("SELECT 1) bad; COMMIT; DROP TABLE tracks; SELECT (1")),
    about("unknown_parameter", Rows("SELECT track_id FROM tracks WHERE price > %(limit)s")),
    about("lonely_percent", Where("title LIKE '%x'")),
    about("raising_frame", Frame(("price",), lambda frame: frame["prize"])),
    about("wrong_frame", Frame(("price",), lambda frame: frame["price"])),
]

@rule(level="business", severity="info", remediation="Mend it.")
def looks(evidence):
    """It looks."""
    yield Sighting("tracks", 1 / 0)
'''
REFUSED = {
    "business.unknown_column": 'column "cost" does not exist',
    "business.syntax": "syntax error at or near",
    "business.writes": "syntax error at or near",
    "business.writes_within": "WITH clause containing a data-modifying statement must be at the top level",
    "business.two_statements": "cannot insert multiple commands",
    "business.unknown_parameter": "cannot be filled in",
    "business.lonely_percent": "only '%s', '%b', '%t' are allowed",
    "business.raising_frame": "raised KeyError (tried.py, line 22)",
    "business.wrong_frame": "values of type double[pyarrow]; a boolean for each row",
}


def test_rules_are_tried_on_empty_tables_made_for_it(install: Install, sound: Sound) -> None:
    install(tried=TRIED)
    fleet = sound[0]
    known = [one for one in known_rules(fleet.catalog, ("tried",)) if not one.shipped]
    problems = {trial.rule: trial for trial in try_rules(fleet, known) if trial.problem}
    assert problems.keys() == REFUSED.keys()
    for name, said in REFUSED.items():
        assert said in problems[name].problem or said in problems[name].fix, problems[name]
        assert problems[name].origin == "tried.RULES (TENANT_OPS_RULES)" or "about" in problems[name].origin
    with fleet.control.transaction() as connection:
        left = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname LIKE 'rule_trial%'").fetchall()
    assert left == []


def test_rules_are_tried_on_a_tenants_rows_as_its_owner(install: Install, sound: Sound) -> None:
    install(
        tried=TRIED
        + '''
@rule(level="business", severity="info", remediation="Mend it.")
def others():
    """It sees no other tenant."""
    return Rows("SELECT slug FROM tenant_ops.tenant")
'''
    )
    fleet, tenant = sound
    known = [one for one in known_rules(fleet.catalog, ("tried",)) if not one.shipped]
    problems = {trial.rule: trial.problem for trial in try_rules(fleet, known, tenant) if trial.problem}
    assert problems.keys() == {*REFUSED, "business.looks", "business.others"}
    assert "tried.looks raised ZeroDivisionError (tried.py, line" in problems["business.looks"]
    assert "permission denied" in problems["business.others"]


def test_shipped_rules_pass_their_own_trial(sound: Sound) -> None:
    fleet = sound[0]
    trials = try_rules(fleet, known_rules(fleet.catalog))
    assert [trial for trial in trials if trial.problem] == []
    assert len(trials) == len(shipped_rules(fleet.catalog))


def test_a_joined_rule_needs_one_reference(sound: Sound) -> None:
    itself = Rule("data.j", "data", "info", "So.", "Do.", Joined("true", ("tracks",)), "tracks")
    with pytest.raises(InputError, match="one to another dataset is needed"):
        known_rules(MUSIC, given=[itself])
