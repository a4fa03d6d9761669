"""How Postgres goes about a merge: by hashing, whatever it believes about the live table."""

import json

from psycopg import sql

from tenant_ops.loading.merging import plan_for_whole_sets
from tenant_ops.tenants import Fleet, Tenant


def test_a_live_table_analysed_while_empty_is_not_looped_over(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("ANALYZE artists")
        connection.execute("CREATE TEMP TABLE s (LIKE artists)")
        connection.execute(
            "INSERT INTO s SELECT gen_random_uuid(), 'x', NULL, NULL, 0, now() FROM generate_series(1, 20000)"
        )
        connection.execute("ANALYZE s")
        plan_for_whole_sets(connection)
        query = sql.SQL(
            "EXPLAIN (FORMAT JSON) INSERT INTO artists SELECT * FROM s "
            "WHERE NOT EXISTS (SELECT FROM artists l WHERE l.artist_id = s.artist_id)"
        )
        row = connection.execute(query).fetchone()
    assert row
    assert "Nested Loop" not in json.dumps(row[0])
