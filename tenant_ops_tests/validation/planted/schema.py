"""Planted faults, schema level: tables that are not what their definitions say."""

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
        {
            "schema.index/artists.artists_name_idx": 1,
            "performance.invalid_index/artists.artists_name_idx": 1,
        },
    ),
}
