"""Rows of known age, and what a tenant's tables hold."""

from datetime import datetime

from psycopg import sql

from tenant_ops.tenants import Fleet, Tenant

# Ages in days of the rows that `fill` makes in each table with retention, one row per age and user.
AGES = (10, 100, 400, 800)
USERS = 5


def fill(fleet: Fleet, tenant: Tenant, now: datetime) -> None:
    """Five users with rows in every aging table, at each of `AGES` days before `now`.

    Every event, conversation and message of an age belongs to the sign-in or conversation of that age.
    """
    with fleet.session(tenant) as connection:
        for statement in _STATEMENTS:
            connection.execute(statement, {"now": now, "ages": list(AGES), "users": USERS})


def contents(fleet: Fleet, tenant: Tenant, schema: str | None = None) -> dict[str, tuple[int, str | None]]:
    """Rows and a checksum of every table."""
    found: dict[str, tuple[int, str | None]] = {}
    with fleet.session(tenant) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'",
            (schema or tenant.schema_name,),
        ).fetchall()
        for (name,) in names:
            row = connection.execute(
                sql.SQL(
                    "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} AS t"
                ).format(sql.Identifier(schema or tenant.schema_name, name))
            ).fetchone()
            assert row is not None
            found[name] = row
    return found


def rows(fleet: Fleet, tenant: Tenant, query: str) -> list[tuple]:
    """The answer to a query in the tenant's schema."""
    with fleet.session(tenant) as connection:
        return connection.execute(sql.SQL(query)).fetchall()  # pyright: ignore[reportArgumentType]


def uuid_of(kind: int, *parts: str) -> str:
    """SQL for an id made of numbers, so that rows find each other."""
    digits = " || ".join(f"lpad(({part})::text, 4, '0')" for part in parts)
    return (
        f"('{kind:08d}-0000-0000-' || rpad({digits}, 4, '0') || '-' || lpad(({digits})::text, 12, '0'))::uuid"
    )


_AGED = "FROM generate_series(1, %(users)s) AS u, unnest(%(ages)s::int[]) AS age"
_AT = "%(now)s - make_interval(days => age)"
_USER, _SIGN_IN, _TALK = uuid_of(1, "u"), uuid_of(2, "u", "age"), uuid_of(3, "u", "age")
_STATEMENTS = (
    f"""INSERT INTO users (user_id, email, display_name, role, status, created_at)
        SELECT {_USER}, 'u' || u || '@acme.example', 'User ' || u, 'viewer', 'active', %(now)s
        FROM generate_series(1, %(users)s) AS u""",
    """INSERT INTO artists (artist_id, name, followers, created_at)
       VALUES ('00000009-0000-0000-0000-000000000000', 'The Band', 1, %(now)s)""",
    """INSERT INTO tracks (track_id, artist_id, title, duration_ms, explicit)
       VALUES ('00000008-0000-0000-0000-000000000000', '00000009-0000-0000-0000-000000000000', 'Song', 1000,
               false)""",
    f"""INSERT INTO sessions (session_id, user_id, device, started_at)
        SELECT {_SIGN_IN}, {_USER}, 'web', {_AT} {_AGED}""",
    f"""INSERT INTO ai_sessions (ai_session_id, user_id, session_id, model, purpose, total_tokens, cost_usd,
                                 started_at)
        SELECT {_TALK}, {_USER}, {_SIGN_IN}, 'm', 'search', 1, 0, {_AT} {_AGED}""",
    f"""INSERT INTO ai_messages (ai_message_id, ai_session_id, ordinal, author, body, tokens, sent_at)
        SELECT {uuid_of(4, "u", "age", "n")}, {_TALK}, n, 'user', 'hello', 1, {_AT} + make_interval(days => n)
        {_AGED}, generate_series(1, 2) AS n""",
    f"""INSERT INTO listening_events (event_id, user_id, track_id, session_id, played_ms, completed, source,
                                      played_at)
        SELECT {uuid_of(5, "u", "age")}, {_USER}, '00000008-0000-0000-0000-000000000000', {_SIGN_IN}, 1000,
               true, 'library', {_AT} {_AGED}""",
    f"""INSERT INTO api_requests (request_id, user_id, method, path, status, latency_ms, requested_at)
        SELECT {uuid_of(6, "u", "age")}, {_USER}, 'GET', '/tracks', 200, 1, {_AT} {_AGED}""",
)
