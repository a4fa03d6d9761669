"""Every safe fault at once: found, fixed, and undone byte for byte; then the same with random damage."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation import list_fixes, undo_fixes
from tenant_ops_tests.validation.conftest import fill, fleet_of_its_own
from tenant_ops_tests.validation.fixing import contents, fixed, keys, plant

TRACK = "(SELECT track_id FROM tracks ORDER BY track_id LIMIT 1)"
USER = "(SELECT user_id FROM users WHERE role <> 'admin' ORDER BY user_id LIMIT 1)"

SAFE = {
    "blanks and an accent beside its letter": f"UPDATE tracks SET title = U&'  Cafe\\0301 \\0009' "
    f"WHERE track_id = {TRACK}",
    "a blank behind what nobody sees": "UPDATE artists SET name = name || U&' \\200B' "
    "WHERE artist_id = (SELECT artist_id FROM artists ORDER BY artist_id LIMIT 1)",
    "a name that turns round": f"UPDATE users SET display_name = U&'\\202Enimda' WHERE user_id = {USER}",
    "capitals": f"UPDATE users SET email = 'A.Capital@Songs.example' WHERE user_id = {USER}",
    "an unusable index": "UPDATE pg_catalog.pg_index SET indisvalid = false "
    "WHERE indexrelid = 'artists_name_idx'::regclass",
}


@pytest.fixture(scope="module")
def shared(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Tenant]]:
    """A loaded tenant; every test takes back what it does."""
    folder = tmp_path_factory.mktemp("together")
    with fleet_of_its_own(postgres_url, folder) as fleet:
        provision(fleet, "acme", tier_name="enterprise")
        tenant = fleet.registry.get("acme")
        fill(fleet, tenant, folder / "rows")
        yield fleet, tenant


def test_all_safe_faults_planted_together_are_fixed_and_undone_byte_for_byte(
    shared: tuple[Fleet, Tenant],
) -> None:
    fleet, tenant = shared
    plant(fleet, tenant, *SAFE.values())
    damaged = contents(fleet, tenant)
    found = keys(fleet, tenant, "schema", "data", "business")
    assert set(found) == {
        "data.tracks.title.trimmed/tracks.title",
        "data.tracks.title.composed/tracks.title",
        "data.artists.name.invisible/artists.name",
        "data.users.display_name.invisible/users.display_name",
        "data.users.email.lowercase/users.email",
        "schema.index/artists.artists_name_idx",
    }
    report = fixed(fleet, tenant)
    assert [one.reason for one in report.outcomes if not one.done] == []
    assert len(report.outcomes) == len(found)
    assert keys(fleet, tenant, "schema", "data", "business") == {}
    mended = contents(fleet, tenant)
    assert {name for name in damaged if damaged[name] != mended[name]} == {"tracks", "artists", "users"}
    assert report.fix_id is not None
    undone = undo_fixes(fleet, tenant, report.fix_id)
    assert (undone.changed_since, undone.left) == (0, ())
    assert contents(fleet, tenant) == damaged
    again = fixed(fleet, tenant)
    assert contents(fleet, tenant) == mended
    assert [(one.fix_id, one.undone_at is None) for one in list_fixes(fleet, tenant)] == [
        (again.fix_id, True),
        (report.fix_id, False),
    ]


LETTERS = st.text(
    st.sampled_from(list("aB 日ßΣ\u00e9\u0130\ufb01\u0301\u030a\u200b\u202e")),
    min_size=1,
    max_size=12,
)
BLANKS = st.text(st.sampled_from([" ", "\t", "\r", "\n"]), max_size=4)


@pytest.mark.slow
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(titles=st.lists(st.tuples(BLANKS, LETTERS, BLANKS).map("".join), min_size=1, max_size=20))
def test_random_damage_to_labels_is_mended_whole_and_undone_byte_for_byte(
    shared: tuple[Fleet, Tenant], titles: list[str]
) -> None:
    fleet, tenant = shared
    titles = [title[:100] for title in titles if title.strip(" \t\r\n\u200b\u202e")]
    with fleet.session(tenant) as connection:
        rows = connection.execute("SELECT track_id FROM tracks ORDER BY track_id LIMIT %s", (len(titles),))
        places = [row[0] for row in rows.fetchall()]
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE tracks SET title = %s WHERE track_id = %s", list(zip(titles, places, strict=False))
            )
    damaged = contents(fleet, tenant)
    report = fixed(fleet, tenant, types=["data"])
    assert [one.reason for one in report.outcomes if not one.done] == []
    left = keys(fleet, tenant, "data")
    assert not [key for key in left if key.endswith(("trimmed/tracks.title", "invisible/tracks.title"))]
    assert not [key for key in left if key.endswith("composed/tracks.title")]
    if report.fix_id:
        assert undo_fixes(fleet, tenant, report.fix_id).changed_since == 0
    assert contents(fleet, tenant) == damaged
