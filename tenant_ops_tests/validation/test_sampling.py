"""A part of a huge table: bounds that hold, confidence that is stated, and never more than was seen."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.datasets import Between, Catalog, Column, Dataset, ForeignKey
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation import Finding, Sampling, execute_validation, plan_fixes, plan_validation
from tenant_ops.validation.examination import Examined
from tenant_ops.validation.levels.data import data_rules
from tenant_ops.validation.levels.data.history import HISTORY_RULES
from tenant_ops.validation.sampling import estimate, fewer_than
from tenant_ops_tests.validation.conftest import examined, fleet_of_its_own

ROWS = 60_000
PAGES = Sampling(above_rows=0, rows=ROWS // 10)
GAUGES = Catalog(
    "gauges",
    "1.0.0",
    (
        Dataset("gauges", "Gauges.", (Column("gauge", "integer"),), ("gauge",)),
        Dataset(
            "readings",
            "Readings.",
            (
                Column("reading", "integer"),
                Column("gauge", "integer"),
                Column("serial", "integer", unique=True),
                Column("spread", "integer", rules=(Between(0, 9),)),
                Column("clustered", "integer", rules=(Between(0, 9),)),
                Column("sound", "integer", rules=(Between(0, 9),)),
            ),
            ("reading",),
            foreign_keys=(ForeignKey(("gauge",), "gauges", ("gauge",)),),
        ),
    ),
)
BAD = {"spread": ROWS // 100, "clustered": 3_000, "orphans": ROWS // 50, "serial": 1_200}
UNGUARDED = """
    ALTER TABLE readings DROP CONSTRAINT readings_spread_check, DROP CONSTRAINT readings_clustered_check,
    DROP CONSTRAINT readings_serial_key, DROP CONSTRAINT readings_gauge_fkey
"""
SOUND = "INSERT INTO readings SELECT n, n %% 10, n, n %% 10, n %% 10, n %% 10 FROM generate_series(1, %s) n"
SPOILED = """
    INSERT INTO readings SELECT n, CASE WHEN n %% 50 = 3 THEN 99 ELSE n %% 10 END,
        CASE WHEN n %% 100 = 50 THEN n - 1 ELSE n END, CASE WHEN n %% 100 = 7 THEN 99 ELSE n %% 10 END,
        CASE WHEN n BETWEEN 20001 AND 23000 THEN 99 ELSE n %% 10 END, n %% 10
    FROM generate_series(1, %s) n
"""
Huge = tuple[Fleet, Tenant, Tenant]


@pytest.fixture(scope="module")
def huge(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Huge]:
    """A sound and a spoiled tenant with a table of 60,000 rows each, on some 400 pages."""
    with fleet_of_its_own(postgres_url, tmp_path_factory.mktemp("huge")) as opened:
        fleet = replace(opened, catalog=GAUGES)
        for slug, statements in (("sound", []), ("spoiled", [UNGUARDED])):
            provision(fleet, slug)
            with fleet.session(fleet.registry.get(slug)) as connection:
                connection.execute("INSERT INTO gauges SELECT generate_series(0, 9)")
                for statement in statements:
                    connection.execute(statement.encode())
                connection.execute((SPOILED if statements else SOUND).encode(), (ROWS,))
                connection.execute("ANALYZE readings")
        yield fleet, fleet.registry.get("sound"), fleet.registry.get("spoiled")


def seen_by(fleet: Fleet, tenant: Tenant, sampling: Sampling, *statements: str) -> Examined:
    """What the rules of the data level find by such a sample."""
    rules = data_rules(GAUGES)
    return examined(fleet, tenant, *statements, rules=rules, sampling=sampling, trust_constraints=False)


def by_rule(found: Examined) -> dict[str, Finding]:
    return {finding.rule.removeprefix("data.readings."): finding for finding in found.findings}


def test_what_is_seen_stands_for_the_whole(huge: Huge) -> None:
    fleet, _, spoiled = huge
    found = by_rule(seen_by(fleet, spoiled, PAGES))
    finding = found["spread.range"]
    assert finding.estimate is not None
    assert finding.count < finding.estimate.low < finding.estimate.about < finding.estimate.high < ROWS / 20
    assert finding.estimate.share == pytest.approx(0.1, rel=0.001)
    assert len(finding.sample) == 5
    assert finding.message.startswith(f"Not so for at least {finding.count} rows, about ")
    assert "95 % between" in finding.message and "of the table was looked at" in finding.message


@pytest.mark.slow
@pytest.mark.parametrize("method", ["system", "bernoulli"])
def test_the_bounds_hold_as_often_as_they_say(huge: Huge, method: str) -> None:
    """Rows bad here and there, bad together, without parent, and sharing a value; 60 samples of each."""
    fleet, _, spoiled = huge
    within = dict.fromkeys(("spread.range", "clustered.range", "gauge.orphans", "unique.serial"), 0)
    truth = dict(zip(within, BAD.values(), strict=True))
    seeds = range(1, 61)
    for seed in seeds:
        found = by_rule(seen_by(fleet, spoiled, replace(PAGES, method=method, seed=seed)))
        for rule, bad in truth.items():
            seen = found[rule].estimate if rule in found else None
            # Nothing seen of 3,000 rows on 20 pages is no error: fewer than 29 pages is what is said then.
            within[rule] += seen.low <= bad <= seen.high if seen else rule == "clustered.range"
    assert all(hits >= 0.88 * len(seeds) for hits in within.values()), within


@pytest.mark.parametrize(("method", "unit"), [("system", "page"), ("bernoulli", "row")])
def test_a_rule_that_found_nothing_says_how_sure_it_is(huge: Huge, method: str, unit: str) -> None:
    fleet, sound_tenant, _ = huge
    found = seen_by(fleet, sound_tenant, replace(PAGES, method=method))
    assert found.findings == []
    said = {one.rule.removeprefix("data.readings."): one for one in found.sampled}
    sound = said["sound.range"]
    assert (sound.unit, sound.fewer_than) == (unit, 29)
    assert sound.rows is not None and ROWS / 15 < sound.rows < ROWS / 6
    assert str(sound) == (
        f"None in 10 % of the table: with 95 % confidence fewer than 29 of its {unit}s have any."
    )
    assert said["unique.serial"].unit == said["primary_key"].unit == "value"
    assert said["gauge.orphans"].unit == unit
    assert "readings" not in found.rows


def test_the_same_part_is_looked_at_again(huge: Huge) -> None:
    fleet, _, spoiled = huge
    first, again = (by_rule(seen_by(fleet, spoiled, PAGES)) for _ in range(2))
    other = by_rule(seen_by(fleet, spoiled, replace(PAGES, seed=2)))
    assert first == again != other


def test_only_tables_above_the_threshold_are_sampled(huge: Huge) -> None:
    fleet, tenant, _ = huge
    for above, sampled in ((ROWS - 1, True), (ROWS, False)):
        sampling = Sampling(above_rows=above, rows=1_000)
        report = execute_validation(fleet, plan_validation(fleet, tenant, types=["data"], sampling=sampling))
        assert bool(report.sampled) is sampled
        assert {one.name: one.sampled > 0 for one in report.datasets} == {
            "gauges": False,
            "readings": sampled,
        }
        assert report.score == 100
    assert execute_validation(fleet, plan_validation(fleet, tenant, types=["data"])).sampled == ()


def test_a_table_without_statistics_is_sized_by_its_pages(huge: Huge) -> None:
    forget = "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE oid = 'readings'::regclass"
    sampling = Sampling(above_rows=10_000, rows=1_000)
    fleet, tenant, _ = huge
    assert seen_by(fleet, tenant, sampling, forget).sampled


@given(st.integers(1, 10_000), st.floats(0.0001, 0.9), st.data())
def test_bounds_stand_around_the_estimate(seen: int, share: float, data: st.DataObject) -> None:
    squares = data.draw(st.integers(seen, seen**2))
    found = estimate(seen, squares, share)
    assert seen <= found.low <= max(seen, found.about) <= found.high


@given(st.floats(0.0001, 0.9))
def test_fewer_than_is_the_rule_of_three(share: float) -> None:
    most = fewer_than(share)
    assert (1 - share) ** most <= 0.05 < (1 - share) ** (most - 2)
    assert most <= ceil(3 / share) + 1


def test_a_fix_is_planned_on_the_whole_table(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant("acme")
    with fleet.session(tenant) as connection:
        connection.execute("""
            INSERT INTO artists (artist_id, name, followers, created_at)
            SELECT gen_random_uuid(), 'Artist ' || n || ' ', n, now() FROM generate_series(1, 2000) n
        """)
    sampling = Sampling(above_rows=0, rows=400, method="bernoulli")
    plan = plan_validation(fleet, tenant, types=["data"], sampling=sampling)
    (finding,) = execute_validation(fleet, plan).findings
    assert finding.estimate is not None and finding.count < 1_000
    (step,) = plan_fixes(fleet, plan, [finding]).steps
    assert step.rows == 2_000


def test_tables_and_keys_may_have_any_name(fleet: Fleet) -> None:
    columns = (Column("user", "integer"), Column("group", "integer", rules=(Between(0, 9),)))
    reserved = Catalog("reserved", "1.0.0", (Dataset("select", "Reserved by Postgres.", columns, ("user",)),))
    odd = replace(fleet, catalog=reserved)
    provision(odd, "acme")
    tenant = odd.registry.get("acme")
    with odd.session(tenant) as connection:
        connection.execute('ALTER TABLE "select" DROP CONSTRAINT select_group_check')
        connection.execute('INSERT INTO "select" SELECT n, n FROM generate_series(1, 2000) n')
    for method in ("system", "bernoulli"):
        sampling = Sampling(above_rows=0, rows=500, method=method)
        report = execute_validation(odd, plan_validation(odd, tenant, types=["data"], sampling=sampling))
        assert {one.rule for one in report.unchecked} == {rule.id for rule in HISTORY_RULES}
        assert [finding.rule for finding in report.findings] == ["data.select.group.range"]
