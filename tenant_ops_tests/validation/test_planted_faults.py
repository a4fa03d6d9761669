"""Faults planted one by one in a sound tenant: each is found by its rule, with its rows, and nothing else is.

Each case is what an operator's hand did, and every finding it must lead to: `rule/subject` and how many rows.
"""

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Finding
from tenant_ops_tests.validation.conftest import Spoiled, examined, named

SCHEMA = {
    "a dropped table": (
        ["DROP TABLE api_requests"],
        {
            "schema.missing_table/api_requests": 1,
        },
    ),
    "a table of nobody": (
        ["SET ROLE $own", "CREATE TABLE notes (id integer)"],
        {"schema.extra_table/notes": 1},
    ),
    "a dropped column": (
        ["ALTER TABLE artists DROP COLUMN genre"],
        {"schema.missing_column/artists.genre": 1, "schema.check/artists.artists_genre_check": 1},
    ),
    "a column too many": (
        ["ALTER TABLE artists ADD COLUMN label text"],
        {"schema.extra_column/artists.label": 1},
    ),
    "another type": (
        ["ALTER TABLE tracks ALTER COLUMN price TYPE double precision"],
        {"schema.column_type/tracks.price": 1, "schema.check/tracks.tracks_price_check": 1},
    ),
    "empty allowed": (
        ["ALTER TABLE tracks ALTER COLUMN title DROP NOT NULL"],
        {"schema.nullability/tracks.title": 1},
    ),
    "a default": (
        ["ALTER TABLE tracks ALTER COLUMN explicit SET DEFAULT false"],
        {"schema.default/tracks.explicit": 1},
    ),
    "no primary key": (
        ["ALTER TABLE analytics_daily DROP CONSTRAINT analytics_daily_pkey"],
        {"schema.primary_key/analytics_daily.analytics_daily_pkey": 1},
    ),
    "no foreign key": (
        ["ALTER TABLE tracks DROP CONSTRAINT tracks_artist_id_fkey"],
        {"schema.foreign_key/tracks.tracks_artist_id_fkey": 1},
    ),
    "a foreign key with another effect": (
        [
            "ALTER TABLE tracks DROP CONSTRAINT tracks_artist_id_fkey, ADD CONSTRAINT tracks_artist_id_fkey "
            "FOREIGN KEY (artist_id) REFERENCES artists (artist_id) ON DELETE RESTRICT"
        ],
        {"schema.foreign_key/tracks.tracks_artist_id_fkey": 1},
    ),
    "a foreign key nobody checked": (
        [
            "ALTER TABLE tracks DROP CONSTRAINT tracks_artist_id_fkey, ADD CONSTRAINT tracks_artist_id_fkey "
            "FOREIGN KEY (artist_id) REFERENCES artists (artist_id) ON DELETE CASCADE NOT VALID"
        ],
        {"schema.foreign_key/tracks.tracks_artist_id_fkey": 1},
    ),
    "no unique key": (
        ["ALTER TABLE users DROP CONSTRAINT users_email_key"],
        {"schema.unique/users.users_email_key": 1},
    ),
    "a weaker check": (
        [
            "ALTER TABLE users DROP CONSTRAINT users_role_check, ADD CONSTRAINT users_role_check "
            "CHECK (role IN ('admin', 'editor', 'viewer', 'root'))"
        ],
        {"schema.check/users.users_role_check": 1},
    ),
    "no index": (
        ["DROP INDEX tracks_artist_id_idx"],
        {
            "schema.index/tracks.tracks_artist_id_idx": 1,
            "performance.foreign_key_index/tracks.tracks_artist_id_fkey": 1,
        },
    ),
    "an unusable index": (
        ["UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'artists_name_idx'::regclass"],
        {"schema.index/artists.artists_name_idx": 1},
    ),
}

USER = "(SELECT user_id FROM users WHERE role <> 'admin' ORDER BY user_id LIMIT 1)"
TRACK = "(SELECT track_id FROM tracks ORDER BY track_id LIMIT 1)"
UNCHECKED = "ALTER TABLE users DROP CONSTRAINT users_{0}_check"

DATA = {
    "an empty required value": (
        [
            "ALTER TABLE users ALTER COLUMN display_name DROP NOT NULL",
            f"UPDATE users SET display_name = NULL WHERE user_id = {USER}",
        ],
        {"schema.nullability/users.display_name": 1, "data.users.display_name.filled/users.display_name": 1},
    ),
    "out of range": (
        [
            "ALTER TABLE users DROP CONSTRAINT users_birth_year_check",
            f"UPDATE users SET birth_year = 1899 WHERE user_id = {USER}",
        ],
        {"schema.check/users.users_birth_year_check": 1, "data.users.birth_year.range/users.birth_year": 1},
    ),
    "not in the set": (
        [
            "ALTER TABLE users DROP CONSTRAINT users_status_check",
            f"UPDATE users SET status = 'asleep' WHERE user_id = {USER}",
        ],
        {"schema.check/users.users_status_check": 1, "data.users.status.set/users.status": 1},
    ),
    "a pattern no table checks": (
        [f"UPDATE users SET country = 'de' WHERE user_id = {USER}"],
        {"data.users.country.pattern/users.country": 1},
    ),
    "a pattern matched by a part only": (
        [f"UPDATE users SET country = E'DE\\nFR' WHERE user_id = {USER}"],
        {"data.users.country.pattern/users.country": 1},
    ),
    "too long": (
        [
            "ALTER TABLE artists DROP CONSTRAINT artists_genre_check",
            "UPDATE artists SET genre = repeat('x', 61) WHERE artist_id = (SELECT min(artist_id::text) FROM "
            "artists)::uuid",
        ],
        {"schema.check/artists.artists_genre_check": 1, "data.artists.genre.length/artists.genre": 1},
    ),
    "blanks around": (
        [f"UPDATE tracks SET title = title || ' ' WHERE track_id = {TRACK}"],
        {"data.tracks.title.trimmed/tracks.title": 1},
    ),
    "nothing but blanks": (
        [f"UPDATE tracks SET title = E' \\t' WHERE track_id = {TRACK}"],
        {"data.tracks.title.blank/tracks.title": 1},
    ),
    "times the wrong way round": (
        [
            "ALTER TABLE users DROP CONSTRAINT users_created_at_last_seen_at_order_check",
            f"UPDATE users SET last_seen_at = created_at - interval '1 hour' WHERE user_id = {USER}",
        ],
        {
            "schema.check/users.users_created_at_last_seen_at_order_check": 1,
            "data.users.created_at.order.last_seen_at/users.created_at": 1,
        },
    ),
    "one key twice": (
        [
            "ALTER TABLE analytics_daily DROP CONSTRAINT analytics_daily_pkey",
            "INSERT INTO analytics_daily SELECT * FROM analytics_daily ORDER BY day, metric LIMIT 1",
        ],
        {
            "schema.primary_key/analytics_daily.analytics_daily_pkey": 1,
            "data.analytics_daily.primary_key/analytics_daily.day+metric": 2,
        },
    ),
    "one address, two accounts": (
        [
            "ALTER TABLE users DROP CONSTRAINT users_email_key",
            f"UPDATE users SET email = (SELECT email FROM users WHERE role = 'admin' LIMIT 1) "
            f"WHERE user_id = {USER}",
        ],
        {"schema.unique/users.users_email_key": 1, "data.users.unique.email/users.email": 2},
    ),
    "a reference to nothing": (
        [
            "SET session_replication_role = replica",
            f"UPDATE tracks SET artist_id = gen_random_uuid() WHERE track_id = {TRACK}",
            "SET session_replication_role = origin",
        ],
        {"data.tracks.artist_id.orphans/tracks.artist_id": 1},
    ),
}

SESSION = "(SELECT ai_session_id FROM ai_messages GROUP BY 1 HAVING count(*) > 2 ORDER BY 1 LIMIT 1)"
EVENT = "(SELECT event_id FROM listening_events WHERE session_id IS NOT NULL ORDER BY 1 LIMIT 1)"

BUSINESS = {
    "no administrator": (
        ["UPDATE users SET role = 'viewer'"],
        {"business.one_active_admin/users": 1},
    ),
    "an administrator who may not sign in": (
        ["UPDATE users SET status = 'disabled'"],
        {"business.one_active_admin/users": 1},
    ),
    "tokens that do not add up": (
        [f"UPDATE ai_sessions SET total_tokens = total_tokens + 1 WHERE ai_session_id = {SESSION}"],
        {"business.ai_token_totals/ai_sessions": 1},
    ),
    "a message lost": (
        [
            f"UPDATE ai_sessions SET total_tokens = total_tokens - (SELECT tokens FROM ai_messages "
            f"WHERE ai_session_id = {SESSION} AND ordinal = 2) WHERE ai_session_id = {SESSION}",
            f"DELETE FROM ai_messages WHERE ai_session_id = {SESSION} AND ordinal = 2",
        ],
        {"business.message_ordinals/ai_messages": 1},
    ),
    "a message before its conversation": (
        [
            f"UPDATE ai_messages SET sent_at = sent_at - interval '1 year' "
            f"WHERE ai_session_id = {SESSION} AND ordinal = 1"
        ],
        {"business.message_within_conversation/ai_messages": 1},
    ),
    "more heard than there is": (
        [
            f"UPDATE listening_events e SET played_ms = t.duration_ms + 1 FROM tracks t "
            f"WHERE t.track_id = e.track_id AND event_id = {EVENT}"
        ],
        {"business.played_within_track/listening_events": 1},
    ),
    "somebody else's sign-in": (
        [
            f"UPDATE listening_events e SET user_id = (SELECT min(user_id::text) FROM users u "
            f"WHERE u.user_id <> e.user_id)::uuid WHERE event_id = {EVENT}"
        ],
        {"business.listener_is_signed_in/listening_events": 1},
    ),
    "a gap in a playlist": (
        [
            "DELETE FROM playlist_tracks p WHERE (playlist_id, position) = (SELECT playlist_id, 2 "
            "FROM playlist_tracks GROUP BY 1 HAVING count(*) > 2 ORDER BY 1 LIMIT 1)"
        ],
        {"business.playlist_positions/playlist_tracks": 1},
    ),
    "a sign-in before the account": (
        [
            "UPDATE sessions SET started_at = '2001-01-01' "
            "WHERE session_id = (SELECT session_id FROM sessions ORDER BY 1 LIMIT 1)"
        ],
        {"business.session_after_account/sessions": 1},
    ),
    "published, nobody knows when": (
        [
            "UPDATE content SET status = 'published', published_at = NULL "
            "WHERE content_id = (SELECT content_id FROM content ORDER BY 1 LIMIT 1)"
        ],
        {"business.published_content_has_a_date/content": 1},
    ),
}

PERFORMANCE = {
    "two indexes alike": (
        ["CREATE INDEX artists_again ON artists (name)"],
        {
            "schema.extra_index/artists.artists_again": 1,
            "performance.duplicate_index/artists.artists_name_idx": 1,
        },
    ),
    "a sequence near its end": (
        [
            "SET ROLE $own",
            "CREATE SEQUENCE tickets AS integer",
            "SELECT setval('tickets', 2000000000)",
        ],
        {"performance.sequence_exhaustion/sequence tickets": 1},
    ),
}

SECURITY = {
    "everybody may read": (
        ["GRANT SELECT ON users TO PUBLIC"],
        {"security.foreign_grants/users to PUBLIC": 1},
    ),
    "everybody may enter": (
        ["GRANT USAGE ON SCHEMA $schema TO PUBLIC"],
        {"security.foreign_grants/schema $schema to PUBLIC": 1},
    ),
    "another tenant may read one column": (
        ["CREATE ROLE t_other_adm", "GRANT SELECT (email) ON users TO t_other_adm"],
        {"security.foreign_grants/users.email to t_other_adm": 1},
    ),
    "another tenant may read what comes": (
        [
            "CREATE ROLE t_other_adm",
            "ALTER DEFAULT PRIVILEGES FOR ROLE $own IN SCHEMA $schema GRANT SELECT ON TABLES TO t_other_adm",
        ],
        {"security.foreign_grants/later objects of kind r to t_other_adm": 1},
    ),
    "the tenant's login sees quarantined rows": (
        ["GRANT SELECT ON $stage.quarantine TO $edt"],
        {"security.foreign_grants/quarantine to $edt": 1},
    ),
    "a viewer who writes": (
        ["GRANT INSERT ON tracks TO $vwr"],
        {"security.role_rights/tracks for $vwr": 1},
    ),
    "an editor locked out": (
        ["REVOKE ALL ON tracks FROM $edt"],
        {"security.role_rights/tracks for $edt": 1},
    ),
    "a table of the operator": (
        ["ALTER TABLE tracks OWNER TO CURRENT_USER"],
        {"security.ownership/tracks": 1},
    ),
    "another tenant in the group": (
        ["CREATE ROLE t_other_app LOGIN", "GRANT $edt TO t_other_app"],
        {"security.memberships/t_other_app in $edt": 1},
    ),
    "the login in a powerful group": (
        ["GRANT pg_read_all_data TO $app"],
        {"security.memberships/$app in pg_read_all_data": 1},
    ),
    "a superuser": (
        ["ALTER ROLE $app SUPERUSER"],
        {"security.role_attributes/role $app": 1},
    ),
    "a login above row security": (
        ["ALTER ROLE $app BYPASSRLS"],
        {"security.role_attributes/role $app": 1},
    ),
    "a group that logs in": (
        ["ALTER ROLE $adm LOGIN"],
        {"security.role_attributes/login of $adm": 1},
    ),
    "no connection limit": (
        ["ALTER ROLE $app CONNECTION LIMIT -1"],
        {"security.login_limits/login connection limit": 1},
    ),
    "a function that trusts its caller": (
        [
            "SET ROLE $own",
            "CREATE FUNCTION everyone() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
            "AS 'SELECT count(*) FROM users'",
        ],
        {"security.definer_functions/function everyone()": 1},
    ),
    "a reference from outside": (
        [
            "CREATE SCHEMA elsewhere",
            "CREATE TABLE elsewhere.likes (track_id uuid REFERENCES tracks)",
        ],
        {"security.crossing_references/likes.likes_track_id_fkey": 1},
    ),
}

CASES = [
    pytest.param(statements, expected, id=f"{level}: {name}")
    for level, cases in (
        ("schema", SCHEMA),
        ("data", DATA),
        ("business", BUSINESS),
        ("performance", PERFORMANCE),
        ("security", SECURITY),
    )
    for name, (statements, expected) in cases.items()
]


def by_key(findings: list[Finding]) -> dict[str, int]:
    return {finding.key: finding.count for finding in findings}


def test_nothing_is_found_in_a_sound_tenant_and_everything_is_checked(sound: tuple[Fleet, Tenant]) -> None:
    healthy = examined(*sound)
    assert healthy.findings == []
    assert [one.rule for one in healthy.unchecked] == ["performance.slow_statements"]


@pytest.mark.parametrize(("statements", "expected"), CASES)
def test_a_planted_fault_is_found_and_nothing_else(
    spoiled: Spoiled, sound: tuple[Fleet, Tenant], statements: list[str], expected: dict[str, int]
) -> None:
    wanted = {named(key, sound[1]).as_string(): count for key, count in expected.items()}
    assert by_key(spoiled(*statements)) == wanted
