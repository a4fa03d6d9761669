"""Planted faults, data level: rows that break the rules of their columns and keys."""

USER = "(SELECT user_id FROM users WHERE role <> 'admin' ORDER BY user_id LIMIT 1)"
ARTIST = "(SELECT artist_id FROM artists ORDER BY artist_id LIMIT 1)"
FIGURE = "(SELECT day, metric FROM analytics_daily WHERE metric = 'ai_cost_usd' ORDER BY day LIMIT 1)"
INTEGRATION = "(SELECT integration_id FROM integrations ORDER BY integration_id LIMIT 1)"
MESSAGE = "(SELECT ai_message_id FROM ai_messages ORDER BY ai_message_id LIMIT 1)"
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
    "a check no old row was held to": (
        [
            "ALTER TABLE users DROP CONSTRAINT users_role_check",
            f"UPDATE users SET role = 'owner' WHERE user_id = {USER}",
            "ALTER TABLE users ADD CONSTRAINT users_role_check "
            "CHECK (role IN ('admin', 'editor', 'viewer')) NOT VALID",
        ],
        {"schema.check/users.users_role_check": 1, "data.users.role.set/users.role": 1},
    ),
    "two of one kind and label": (
        [
            "ALTER TABLE integrations DROP CONSTRAINT integrations_kind_label_key",
            f"UPDATE integrations SET (kind, label) = (SELECT kind, label FROM integrations "
            f"ORDER BY integration_id DESC LIMIT 1) WHERE integration_id = {INTEGRATION}",
        ],
        {
            "schema.unique/integrations.integrations_kind_label_key": 1,
            "data.integrations.unique.kind_label/integrations.kind+label": 2,
        },
    ),
    "read in the wrong encoding": (
        [f"UPDATE tracks SET title = U&'Caf\\00C3\\00A9 Noir' WHERE track_id = {TRACK}"],
        {"data.tracks.title.encoding/tracks.title": 1},
    ),
    "a character that was lost": (
        [f"UPDATE ai_messages SET body = U&'Play Caf\\FFFD again' WHERE ai_message_id = {MESSAGE}"],
        {"data.ai_messages.body.encoding/ai_messages.body": 1},
    ),
    "a character nobody sees": (
        [f"UPDATE tracks SET title = U&'Golden\\200B Hour' WHERE track_id = {TRACK}"],
        {"data.tracks.title.invisible/tracks.title": 1},
    ),
    "a name that turns round": (
        [f"UPDATE users SET display_name = U&'\\202Enimda' WHERE user_id = {USER}"],
        {"data.users.display_name.invisible/users.display_name": 1},
    ),
    "an accent beside its letter": (
        [f"UPDATE tracks SET title = U&'Cafe\\0301 Noir' WHERE track_id = {TRACK}"],
        {"data.tracks.title.composed/tracks.title": 1},
    ),
    "an address in capitals": (
        [f"UPDATE users SET email = 'A.Capital@songs.example' WHERE user_id = {USER}"],
        {"data.users.email.lowercase/users.email": 1},
    ),
    "one mailbox, two spellings": (
        [
            f"UPDATE users SET email = (SELECT upper(email) FROM users WHERE role = 'admin' "
            f"ORDER BY user_id LIMIT 1) WHERE user_id = {USER}"
        ],
        {"data.users.email.lowercase/users.email": 1, "data.users.alike.email/users.email": 2},
    ),
    "an artist twice, written otherwise": (
        [
            f"UPDATE artists SET name = U&'The  B\\00E9yond' WHERE artist_id = {ARTIST}",
            "UPDATE artists SET name = 'the BEYOND' WHERE artist_id = "
            "(SELECT artist_id FROM artists ORDER BY artist_id DESC LIMIT 1)",
        ],
        {"data.artists.alike.name/artists.name": 2},
    ),
    "a request delivered twice": (
        [
            "INSERT INTO api_requests SELECT gen_random_uuid(), user_id, integration_id, method, path, "
            "status, latency_ms, ip_address, requested_at FROM api_requests ORDER BY request_id LIMIT 1"
        ],
        {"data.api_requests.copies/api_requests": 2},
    ),
    "a time that has not come": (
        [f"UPDATE artists SET created_at = now() + interval '1 day' WHERE artist_id = {ARTIST}"],
        {"data.artists.created_at.past/artists.created_at": 1},
    ),
    "a time that never comes": (
        [f"UPDATE analytics_daily SET computed_at = 'infinity' WHERE (day, metric) = {FIGURE}"],
        {"data.analytics_daily.computed_at.finite/analytics_daily.computed_at": 1},
    ),
    "a number that is none": (
        [f"UPDATE analytics_daily SET value = 'NaN' WHERE (day, metric) = {FIGURE}"],
        {"data.analytics_daily.value.finite/analytics_daily.value": 1},
    ),
    "a document that is none": (
        [f"""UPDATE tracks SET features = '"{{\\"tempo\\": 120}}"' WHERE track_id = {TRACK}"""],
        {"data.tracks.features.shape/tracks.features": 1},
    ),
}

# Which rows each case spoils, found by what was done to them rather than by the rule.
ROWS: dict[str, dict[str, str]] = {
    "an empty required value": {"data.users.display_name.filled": f"user_id = {USER}"},
    "out of range": {"data.users.birth_year.range": f"user_id = {USER}"},
    "not in the set": {"data.users.status.set": f"user_id = {USER}"},
    "a pattern no table checks": {"data.users.country.pattern": f"user_id = {USER}"},
    "a pattern matched by a part only": {"data.users.country.pattern": f"user_id = {USER}"},
    "too long": {"data.artists.genre.length": "genre LIKE 'xxxxx%%'"},
    "blanks around": {"data.tracks.title.trimmed": f"track_id = {TRACK}"},
    "nothing but blanks": {"data.tracks.title.blank": f"track_id = {TRACK}"},
    "times the wrong way round": {"data.users.created_at.order.last_seen_at": f"user_id = {USER}"},
    "one key twice": {
        "data.analytics_daily.primary_key": (
            "(day, metric) = (SELECT day, metric FROM analytics_daily ORDER BY day, metric LIMIT 1)"
        )
    },
    "one address, two accounts": {
        "data.users.unique.email": (
            f"user_id = {USER} OR email = (SELECT email FROM users WHERE user_id = {USER})"
        )
    },
    "a reference to nothing": {"data.tracks.artist_id.orphans": f"track_id = {TRACK}"},
    "a check no old row was held to": {"data.users.role.set": "role = 'owner'"},
    "two of one kind and label": {
        "data.integrations.unique.kind_label": (
            f"integration_id = {INTEGRATION} OR integration_id = (SELECT integration_id FROM integrations "
            "ORDER BY integration_id DESC LIMIT 1)"
        )
    },
    "read in the wrong encoding": {"data.tracks.title.encoding": f"track_id = {TRACK}"},
    "a character that was lost": {"data.ai_messages.body.encoding": f"ai_message_id = {MESSAGE}"},
    "a character nobody sees": {"data.tracks.title.invisible": f"track_id = {TRACK}"},
    "a name that turns round": {"data.users.display_name.invisible": f"user_id = {USER}"},
    "an accent beside its letter": {"data.tracks.title.composed": f"track_id = {TRACK}"},
    "an address in capitals": {"data.users.email.lowercase": f"user_id = {USER}"},
    "one mailbox, two spellings": {
        "data.users.email.lowercase": f"user_id = {USER}",
        "data.users.alike.email": (
            f"user_id IN ({USER}, (SELECT user_id FROM users WHERE role = 'admin' ORDER BY user_id LIMIT 1))"
        ),
    },
    "an artist twice, written otherwise": {
        "data.artists.alike.name": (
            f"artist_id IN ({ARTIST}, (SELECT artist_id FROM artists ORDER BY artist_id DESC LIMIT 1))"
        )
    },
    "a request delivered twice": {
        "data.api_requests.copies": (
            "(requested_at, path) IN (SELECT requested_at, path FROM api_requests GROUP BY 1, 2 "
            "HAVING count(*) = 2)"
        )
    },
    "a time that has not come": {"data.artists.created_at.past": f"artist_id = {ARTIST}"},
    "a time that never comes": {"data.analytics_daily.computed_at.finite": f"(day, metric) = {FIGURE}"},
    "a number that is none": {"data.analytics_daily.value.finite": f"(day, metric) = {FIGURE}"},
    "a document that is none": {"data.tracks.features.shape": f"track_id = {TRACK}"},
}
