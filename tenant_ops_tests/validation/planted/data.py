"""Planted faults, data level: rows that break the rules of their columns and keys."""

USER = "(SELECT user_id FROM users WHERE role <> 'admin' ORDER BY user_id LIMIT 1)"
TRACK = "(SELECT track_id FROM tracks ORDER BY track_id LIMIT 1)"

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
