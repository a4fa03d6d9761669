"""How far from usual is too far: numbers alone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.validation.profiles.judging import (
    LEAST,
    freshness,
    odd_fill,
    odd_values,
    stability_index,
    volume,
)
from tenant_ops.validation.profiles.values import DatasetProfile, Profile

T0 = datetime(2026, 1, 1, tzinfo=UTC)
counts = st.integers(0, 10_000_000)


def of(*rows: int) -> list[DatasetProfile]:
    return [DatasetProfile(one) for one in rows]


@pytest.mark.parametrize(
    ("now", "earlier", "odd"),
    [
        (1_000, [1_000] * 7, False),
        (400, [1_000] * 7, True),
        (690, [1_000] * 7, True),
        (750, [1_000] * 7, False),
        (3_100, [1_000] * 7, True),
        (1_400, [1_000, 1_050, 1_100, 1_150, 1_200, 1_250, 1_300], False),
        (500, [1_000, 200, 1_400, 600, 1_100, 300, 900], False),
        (4, [40] * 7, False),
        (90, [3] * 7, False),
        (0, [0] * 7, False),
    ],
    ids=[
        "as always", "over half gone", "a third gone", "a quarter gone", "three times as many", "growing",
        "restless anyway", "few rows", "few rows, many more", "empty as always",
    ],
)  # fmt: skip
def test_rows_that_are_gone_or_far_too_many_are_odd(now: int, earlier: list[int], odd: bool) -> None:
    assert (volume(DatasetProfile(now), of(*earlier)) is not None) is odd


@given(st.lists(counts, min_size=LEAST, max_size=30))
def test_what_was_there_before_is_never_too_much(earlier: list[int]) -> None:
    found = volume(DatasetProfile(max(earlier)), of(*earlier))
    assert found is None


def test_one_odd_day_does_not_change_what_is_usual() -> None:
    earlier = of(1_000, 1_000, 5, 1_000, 1_000, 1_000, 1_000)
    assert volume(DatasetProfile(1_000), earlier) is None
    assert volume(DatasetProfile(300), earlier) is not None


def filled(rows: int, share: float) -> DatasetProfile:
    return DatasetProfile(rows, filled={"country": int(rows * share)})


def test_a_column_that_comes_in_empty_is_odd() -> None:
    earlier = [filled(1_000, 0.9)] * LEAST
    (oddity,) = odd_fill(filled(1_000, 0.5), earlier)
    assert (oddity.column, oddity.said) == ("country", "It is filled in 50% of the rows; usually in 90%.")
    assert odd_fill(filled(1_000, 0.8), earlier) == []
    assert odd_fill(filled(50, 0.1), earlier) == [], "a few rows say nothing"
    assert odd_fill(filled(1_000, 0.1), earlier[:-1]) == [], "neither do a few days"


def spread(**values: int) -> DatasetProfile:
    return DatasetProfile(sum(values.values()), values={"role": values})


def test_values_spread_otherwise_are_odd() -> None:
    earlier = [spread(admin=10, editor=90, viewer=900)] * LEAST
    (oddity,) = odd_values(spread(admin=500, editor=100, viewer=400), earlier)
    assert oddity.column == "role"
    assert oddity.said.startswith("'viewer' stands in 40% of the rows; usually in 90% (PSI")
    assert odd_values(spread(admin=12, editor=80, viewer=950), earlier) == []


def test_a_mean_that_moved_is_odd() -> None:
    earlier = [DatasetProfile(1_000, means={"price": (9.99 + day / 100, 4.0)}) for day in range(LEAST)]
    (oddity,) = odd_values(DatasetProfile(1_000, means={"price": (999.0, 400.0)}), earlier)
    assert oddity.said == "Its mean is 999; usually it is about 10.01."
    assert odd_values(DatasetProfile(1_000, means={"price": (10.5, 4.0)}), earlier) == []


distributions = st.dictionaries(st.sampled_from("abcde"), counts, min_size=1)


@given(distributions, distributions)
def test_the_stability_index_is_zero_for_the_same_and_never_below(
    one: dict[str, int], other: dict[str, int]
) -> None:
    assert stability_index(one, one) == pytest.approx(0)
    assert stability_index(one, other) >= -1e-9


def quiet(hours: float) -> Profile:
    return Profile(T0, {"sessions": DatasetProfile(10, newest=T0 - timedelta(hours=hours))})


def test_nothing_new_for_long_is_odd_where_there_always_was() -> None:
    earlier = [quiet(1)] * LEAST
    now = DatasetProfile(10, newest=T0)
    assert freshness("sessions", T0 + timedelta(hours=47), now, earlier) is None
    oddity = freshness("sessions", T0 + timedelta(hours=49), now, earlier)
    assert oddity is not None
    assert oddity.said == "Nothing new for 49 h; the longest before was 1 h."
    assert freshness("sessions", T0 + timedelta(hours=49), now, [quiet(24)] * LEAST) is None
    assert freshness("sessions", T0 + timedelta(hours=99), DatasetProfile(10), earlier) is None


@given(
    st.builds(
        DatasetProfile,
        rows=counts,
        filled=st.dictionaries(st.text(), counts),
        values=st.dictionaries(st.text(), st.dictionaries(st.text(), counts)),
        means=st.dictionaries(st.text(), st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e9))),
        newest=st.none() | st.datetimes(timezones=st.just(UTC)),
    )
)
def test_a_profile_comes_back_as_it_was_kept(profile: DatasetProfile) -> None:
    assert DatasetProfile.of(profile.document()) == profile
