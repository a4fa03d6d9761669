"""Planted faults, performance level: what makes a tenant slow, or will."""

# 60,000 rows of 200 characters are 14 MB, of which a tenth stays.
BLOAT = [
    "SET ROLE $own",
    "CREATE TABLE drafts (id integer, note text)",
    "INSERT INTO drafts SELECT n, md5(n::text) || repeat('x', 170) FROM generate_series(1, 60000) n",
]
OLD = "(pg_current_xact_id()::text::bigint + 4294967296 - 900000000) % 4294967296"

PERFORMANCE = {
    "two indexes alike": (
        ["CREATE INDEX artists_again ON artists (name)"],
        {
            "schema.extra_index/artists.artists_again": 1,
            "performance.duplicate_index/artists.artists_name_idx": 1,
        },
    ),
    "an index that begins another": (
        ["CREATE INDEX tracks_more ON tracks (artist_id, title)"],
        {
            "schema.extra_index/tracks.tracks_more": 1,
            "performance.prefix_index/tracks.tracks_artist_id_idx": 1,
        },
    ),
    "a foreign key without index": (
        ["DROP INDEX content_author_id_idx"],
        {
            "schema.index/content.content_author_id_idx": 1,
            "performance.foreign_key_index/content.content_author_id_fkey": 1,
        },
    ),
    "what a cut CREATE INDEX CONCURRENTLY leaves": (
        [
            "CREATE INDEX artists_left ON artists (followers)",
            "UPDATE pg_catalog.pg_index SET indisvalid = false, indisready = false "
            "WHERE indexrelid = 'artists_left'::regclass",
        ],
        {
            "schema.extra_index/artists.artists_left": 1,
            "performance.invalid_index/artists.artists_left": 1,
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
    "a column too narrow for its sequence": (
        [
            "SET ROLE $own",
            "ALTER TABLE artists ADD COLUMN number smallint",
            "CREATE SEQUENCE numbers OWNED BY artists.number",
            "SELECT setval('numbers', 30000)",
        ],
        {
            "schema.extra_column/artists.number": 1,
            "performance.sequence_exhaustion/sequence numbers": 1,
        },
    ),
    "a sequence behind its column": (
        [
            "SET ROLE $own",
            "ALTER TABLE artists ADD COLUMN number bigint",
            "CREATE SEQUENCE numbers OWNED BY artists.number",
            "UPDATE artists SET number = 7 WHERE artist_id IN (SELECT artist_id FROM artists LIMIT 1)",
        ],
        {
            "schema.extra_column/artists.number": 1,
            "performance.sequence_behind/artists.number": 1,
        },
    ),
    "a table nobody analyzed": (
        [
            "SET ROLE $own",
            "CREATE TABLE jottings (id integer)",
            "INSERT INTO jottings SELECT generate_series(1, 40000)",
        ],
        {"schema.extra_table/jottings": 1, "performance.never_analyzed/jottings": 1},
    ),
    "a table that is mostly empty": (
        [*BLOAT, "DELETE FROM drafts WHERE id % 10 > 0", "ANALYZE drafts"],
        {"schema.extra_table/drafts": 1, "performance.bloated_table/drafts": 1},
    ),
    "an index that is mostly empty": (
        [
            *BLOAT,
            "CREATE INDEX drafts_note ON drafts (note)",
            "DELETE FROM drafts WHERE id % 10 > 0",
            "ANALYZE drafts",
        ],
        {
            "schema.extra_table/drafts": 1,
            "performance.bloated_table/drafts": 1,
            "performance.bloated_index/drafts.drafts_note": 1,
        },
    ),
    "rows too old to stay unfrozen": (
        [f"UPDATE pg_catalog.pg_class SET relfrozenxid = ({OLD})::text::xid WHERE oid = 'artists'::regclass"],
        {"performance.wraparound/artists transactions": 1},
    ),
    "multixacts too old": (
        [
            "UPDATE pg_catalog.pg_class SET relminmxid = '3394967296'::xid WHERE oid = 'artists'::regclass",
        ],
        {"performance.wraparound/artists multixacts": 1},
    ),
    "pages left empty": (
        ["ALTER TABLE artists SET (fillfactor = 20)"],
        {"performance.fill_factor/artists": 1},
    ),
    "autovacuum switched off": (
        ["ALTER TABLE artists SET (autovacuum_enabled = off)"],
        {"performance.autovacuum_off/artists": 1},
    ),
    "a column without statistics": (
        ["ALTER TABLE artists ALTER COLUMN country SET STATISTICS 0"],
        {"performance.statistics_off/artists.country": 1},
    ),
    "the planner forbidden to use indexes": (
        ["ALTER ROLE $app SET enable_indexscan = off"],
        {"performance.planner_switched_off/role $app enable_indexscan": 1},
    ),
}
