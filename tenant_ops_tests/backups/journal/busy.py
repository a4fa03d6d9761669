"""Six writers that do everything an application may do to its rows, at random, until told to stop."""

import random
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import psycopg

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.journal.conftest import as_login

KEYS = 40
# What concurrent transactions do to each other; the one that loses begins again.
LOSING = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.ObjectInUse,  # TRUNCATE, where a deferred trigger is still to run
)
# As an application might have set them; none may show in the journal.
SESSIONS = (
    "SET datestyle = 'German'; SET extra_float_digits = -5; SET intervalstyle = 'sql_standard'",
    "SET timezone = 'Asia/Kathmandu'; SET bytea_output = 'escape'; SET lc_monetary = 'C'",
    "SET default_transaction_isolation = 'repeatable read'",
    "SET default_transaction_isolation = 'serializable'; SET datestyle = 'SQL, DMY'",
    "SET enable_indexscan = off; SET jit_above_cost = 0",
    "SET work_mem = '64kB'; SET timezone = 'America/Caracas'",
)
Execute = Callable[..., object]


class Writers:
    """Writes until the block ends; what went wrong in a thread is raised there.

    Attributes:
        committed: Transactions that were committed.
        prepare: Whether some are prepared first, and so stay open for a while.
    """

    def __init__(self, fleet: Fleet, tenant: Tenant, *, seed: int = 1) -> None:
        self._fleet = fleet
        self._tenant = tenant
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._between = [threading.Lock() for _ in SESSIONS]
        self._threads = [
            threading.Thread(target=self._work, args=(number, random.Random(seed * 100 + number)))
            for number in range(len(SESSIONS))
        ]
        self.committed = 0
        self.prepare = False

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    @contextmanager
    def halted(self) -> Generator[None]:
        """Nobody is in a transaction while the block runs."""
        with ExitStack() as held:
            for lock in self._between:
                held.enter_context(lock)
            yield

    def _work(self, number: int, chance: random.Random) -> None:
        try:
            with as_login(self._fleet, self._tenant) if number % 2 else self._owner() as connection:
                connection.execute(SESSIONS[number].encode())
                while not self._stop.is_set():
                    with self._between[number]:
                        self._transaction(connection, number, chance)
                    self._stop.wait(0.001)  # or `halted` would never get the lock
        except BaseException as error:
            self._failures.append(error)

    def _owner(self) -> psycopg.Connection:
        """The owner, who may also TRUNCATE; the session is a superuser's, who may act as a replica."""
        connection = psycopg.connect(self._fleet.database(self._tenant).url, autocommit=True)
        for setting in (
            f"SET ROLE {self._tenant.role('owner')}",
            f"SET search_path = {self._tenant.schema_name}",
        ):
            connection.execute(setting.encode())
        return connection

    def _transaction(self, connection: psycopg.Connection, number: int, chance: random.Random) -> None:
        try:
            connection.execute("BEGIN")
            for _ in range(chance.randint(1, 6)):
                self._step(connection, number, chance)
            end = chance.random()
            if end < 0.15:
                connection.execute("ROLLBACK")
            elif self.prepare and end < 0.2:
                name = f"{self._tenant.key}_{number}_{chance.random()}"
                connection.execute(f"PREPARE TRANSACTION '{name}'".encode())
                self._stop.wait(chance.choice([0.0, 0.2, 0.8]))
                connection.execute(f"COMMIT PREPARED '{name}'".encode())
                self.committed += 1
            else:
                connection.execute("COMMIT")
                self.committed += 1
        except LOSING:
            connection.execute("ROLLBACK")

    def _step(self, connection: psycopg.Connection, number: int, chance: random.Random) -> None:
        """One statement, or some of them inside a subtransaction that may be undone."""
        if chance.random() < 0.25:
            connection.execute("SAVEPOINT here")
            try:
                for _ in range(chance.randint(1, 3)):
                    write(connection, chance)
                connection.execute("ROLLBACK TO here" if chance.random() < 0.5 else "RELEASE here")
            except psycopg.errors.UniqueViolation:
                connection.execute("ROLLBACK TO here")
        elif number % 2 == 0 and chance.random() < 0.12:
            owner_only(connection, chance)
        else:
            write(connection, chance)


def write(connection: psycopg.Connection, chance: random.Random) -> None:
    """One statement of those any login may run."""
    query, *values = chance.choice(STATEMENTS)
    if query.startswith("COPY"):
        with connection.cursor().copy(query.encode()) as copy:
            for _ in range(chance.randint(1, 20)):
                copy.write_row([chance.randrange(100), "copied"])
        return
    connection.execute(query.encode(), [value(chance) for value in values])


def owner_only(connection: psycopg.Connection, chance: random.Random) -> None:
    """One of those that need the owner: TRUNCATE in its forms, and writing as a replica does."""
    if chance.random() < 0.3:
        # Not on tables with foreign keys: a replica does not check them.
        connection.execute("RESET ROLE")
        connection.execute("SET LOCAL session_replication_role = replica")
        query, *values = chance.choice([each for each in STATEMENTS if " pair" in each[0]])
        connection.execute(query.encode(), [value(chance) for value in values])
        connection.execute("SET LOCAL session_replication_role = origin")
        return
    connection.execute(chance.choice(TRUNCATES).encode())


def key(chance: random.Random) -> int:
    return chance.randrange(KEYS)


def word(chance: random.Random) -> str:
    return chance.choice(
        ["a", "b", "tab\tand\nline", "quote ' \" back\\slash", "(,)", "", "ü", "NULL", "\\N"]
    )


def number(chance: random.Random) -> float:
    return chance.choice([0.1, 1 / 3, 1e300, float("nan"), float("inf"), -0.0, chance.random()])


def region(chance: random.Random) -> str:
    return chance.choice(["eu", "us", "asia"])


STATEMENTS = (
    ("INSERT INTO account (id, name, n) VALUES (%s, %s, 1) ON CONFLICT DO NOTHING", key, word),
    (
        "INSERT INTO account (id, name, n) VALUES (%s, %s, 1), (%s + 40, 'x', 2) "
        "ON CONFLICT (id) DO UPDATE SET n = account.n + 1, name = excluded.name",
        *(key, word, key),
    ),
    ("UPDATE account SET n = n + 1 WHERE id %% 5 = %s %% 5", key),
    ("UPDATE account SET id = %s + 100 WHERE id = %s", key, key),
    ("UPDATE account SET id = id - 100 WHERE id BETWEEN 100 AND 100 + %s", key),
    ("DELETE FROM account WHERE id = %s", key),
    ("DELETE FROM account WHERE id > 60", ),
    ("INSERT INTO item (account, v) SELECT id, %s FROM account WHERE id %% 4 = %s %% 4", key, key),
    ("UPDATE item SET v = v + 1, account = account WHERE id %% 9 = %s %% 9", key),
    ("DELETE FROM item WHERE id IN (SELECT id FROM item ORDER BY random() LIMIT 5)", ),
    ("INSERT INTO tag SELECT id, %s FROM account ORDER BY id LIMIT 3", word),
    ("UPDATE tag SET word = word || '.' WHERE ctid IN (SELECT ctid FROM tag ORDER BY random() LIMIT 2)", ),
    ("DELETE FROM tag WHERE word IN (SELECT word FROM tag ORDER BY random() LIMIT 1)", ),
    (
        "INSERT INTO pair VALUES (%s, %s, %s, now(), '2026-03-01', '1 mon -2 days 03:04:05.6', '\\x00ff5c') "
        "ON CONFLICT DO NOTHING",
        *(key, word, number),
    ),
    ("UPDATE pair SET v = %s, at = clock_timestamp() WHERE a = %s", number, key),
    ("UPDATE pair SET day = 'infinity', b = b || '+' WHERE a = %s AND length(b) < 60", key),
    (
        "MERGE INTO pair USING (SELECT g AS a FROM generate_series(%s::int, 40) g) s "
        "ON pair.a = s.a AND b = 'm' WHEN MATCHED AND s.a %% 3 = 0 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET v = coalesce(v, 0) + 1 "
        "WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, 'm')",
        key,
    ),
    ("INSERT INTO spread VALUES (%s, %s, 0) ON CONFLICT (k, region) DO UPDATE SET v = spread.v + 1",
     key, region),
    ("UPDATE spread SET region = %s WHERE k = %s AND region <> 'eu'", region, key),
    ("UPDATE spread SET v = v + 1, k = k + 1000 WHERE k = %s", key),
    ("UPDATE spread_us SET v = -v WHERE k %% 3 = 0", ),
    ("WITH gone AS (DELETE FROM spread_eu WHERE k = %s RETURNING k, v) "
     "INSERT INTO spread_rest SELECT k, 'asia', v FROM gone ON CONFLICT DO NOTHING", key),
    ("DELETE FROM spread WHERE k > 900 OR k = %s", key),
    ("COPY heap FROM STDIN",),
    ("UPDATE heap SET n = 99 - n WHERE n = %s", key),
    ("DELETE FROM heap_low WHERE n %% 10 = %s %% 10", key),
    ("INSERT INTO slot SELECT %s, 0 WHERE NOT EXISTS (SELECT FROM slot WHERE id = %s)", key, key),
    ("UPDATE slot SET id = 2 * (%s / 2) + 1 - id %% 2 WHERE id / 2 = %s / 2", key, key),
    ("UPDATE slot SET v = v + 1 WHERE id %% 3 = 0", ),
    ("DELETE FROM slot WHERE id = %s", key),
    ("INSERT INTO only_key SELECT g FROM generate_series(%s::int, %s::int + 9) g ON CONFLICT DO NOTHING",
     key, key),
    ("DELETE FROM only_key WHERE id > %s", key),
    ("INSERT INTO daughter VALUES (%s, 1, %s)", key, word),
    ("INSERT INTO mother VALUES (%s, 1) ON CONFLICT DO NOTHING", key),
    ("UPDATE mother SET v = v + 1 WHERE id %% 4 = %s %% 4", key),
    ("DELETE FROM mother WHERE id = %s", key),
)  # fmt: skip
TRUNCATES = (
    "TRUNCATE pair",
    "TRUNCATE account CASCADE",
    "TRUNCATE item RESTART IDENTITY",
    "TRUNCATE tag",
    "TRUNCATE spread",
    "TRUNCATE spread_us",
    "TRUNCATE spread_eu",
    "TRUNCATE heap_low, slot",
    "TRUNCATE ONLY mother",
    "TRUNCATE mother, only_key",
)
