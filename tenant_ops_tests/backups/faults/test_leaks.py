"""Neither a row nor a key shows anywhere while a tenant is backed up and restored, also where that fails.

The commands run in processes of their own, as an operator starts them; while they do, everything on disk that
could hold what they know is looked through, again and again, for words that stand in one row and one file
and for the keys in every encoding.
"""

import os
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tenant_ops.backups import execute_backup, find_backup, plan_backup
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import songs

pytestmark = pytest.mark.slow

ROW = "Xanthippe-of-the-row"
FILE = "Xanthippe-of-the-file"
MASTER = bytes(range(100, 132))
PROGRAM = """
import logging, sys
from tenant_ops.backups import *
from tenant_ops.platform import logs
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet
import os
logs.configure(level="DEBUG", format="json")
fleet = Fleet.open(Settings.load(os.environ))
what, slug, backup = sys.argv[1:]
try:
    if what == "backup":
        print(execute_backup(fleet, plan_backup(fleet, fleet.registry.get(slug))))
    else:
        print(execute_restore(fleet, plan_restore(fleet, find_backup(fleet, backup), slug)))
except TenantOpsError as error:
    logging.getLogger("command").exception("failed")
    print(error)
    sys.exit(1)
finally:
    fleet.close()
"""


def spellings(secret: bytes) -> list[bytes]:
    """A key as somebody could have written it."""
    return [
        secret,
        b64encode(secret).rstrip(b"="),
        urlsafe_b64encode(secret).rstrip(b"="),
        secret.hex().encode(),
        repr(secret).encode(),
    ]


class Search:
    """Looks through files for words, and remembers where it found one and how much it looked at.

    What is looked through: the folder for temporary files, the home with its logs and backups without the two
    places that hold what is looked for by design, and what the kernel shows of the processes.
    """

    def __init__(self, words: dict[str, list[bytes]], places: list[Path], without: list[Path]) -> None:
        self.words = words
        self.places = places
        self.without = without
        self.found: set[tuple[str, str]] = set()
        self.seen: set[str] = set()

    def look(self, where: str, content: bytes) -> None:
        """Note which of the words are there."""
        self.seen.add(where)
        for what, spelled in self.words.items():
            if any(word in content for word in spelled):
                self.found.add((what, where))

    def files(self) -> None:
        """Every file there is now; those that vanish meanwhile were looked at or come again."""
        for place in self.places:
            for folder, folders, names in os.walk(place):
                folders[:] = [name for name in folders if Path(folder) / name not in self.without]
                for name in names:
                    try:
                        self.look(str(Path(folder) / name), (Path(folder) / name).read_bytes())
                    except OSError:
                        continue

    def process(self, pid: int) -> None:
        """What other users' tools show of a process, and of those it started."""
        for each in [pid, *children(pid)]:
            for part in ("cmdline", "environ", "comm"):
                try:
                    content = Path(f"/proc/{each}/{part}").read_bytes()
                except OSError:
                    continue
                if part == "environ" and each == pid:
                    continue  # where the operator put the master key
                self.look(f"{part} of a process", content)


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    direct = [int(number) for number in text.split()]
    return direct + [one for child in direct for one in children(child)]


@contextmanager
def searching(search: Search) -> Iterator[None]:
    """Look through the files all the time while the block runs, and once more at its end."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            search.files()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        search.files()


@pytest.fixture
def secretive(fleet: Fleet, tenant: Tenant) -> Tenant:
    """A tenant with words that stand nowhere else, in enough rows that reading them takes a while."""
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE plays (id integer PRIMARY KEY, song text)")
        connection.execute(
            "INSERT INTO plays SELECT g, %s || g FROM generate_series(1, 40000) g", (f"{ROW} ",)
        )
    (fleet.files(tenant) / "notes.txt").write_text(FILE * 20_000)
    return tenant


@pytest.fixture
def environment(fleet: Fleet, tmp_path: Path) -> dict[str, str]:
    """What a command is started with: a folder of its own for temporary files, and a master key."""
    (tmp_path / "tmp").mkdir()
    key = fleet.settings.home / "keys" / "master.key"
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return kept | {
        "TMPDIR": str(tmp_path / "tmp"),
        "DATABASE_URL": fleet.settings.database_url or "",
        "TENANT_OPS_HOME": str(fleet.settings.home),
        "TENANT_OPS_ACTOR": "tester",
        "BACKUP_ENCRYPTION_KEY": key.read_text().strip(),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }


def command(search: Search, environment: dict[str, str], tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Run one, searching all the while; how it ended and what it said."""
    with (
        searching(search),
        (tmp_path / "tmp" / "said").open("w+b") as said,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=tmp_path / "tmp",
        ) as process,
    ):
        while process.poll() is None:
            search.process(process.pid)
            time.sleep(0.02)
        said.seek(0)
        text = said.read()
    search.look("what the command said", text)
    return process.returncode, text.decode()


def test_rows_and_keys_show_nowhere_while_backing_up_and_restoring(
    fleet: Fleet, secretive: Tenant, environment: dict[str, str], session_home: Path, tmp_path: Path
) -> None:
    search = search_for(fleet, secretive, environment, session_home, tmp_path)
    code, said = command(search, environment, tmp_path, "backup", secretive.slug, "")
    assert code == 0, said
    backup = find_backup(fleet, said.partition("backup_id='")[2].partition("'")[0])
    code, said = command(search, environment, tmp_path, "restore", secretive.slug, backup.path)
    assert (code, "equal=True" in said) == (0, True), said
    assert songs(fleet, secretive) == 40_000
    assert any(".partial" in name for name in search.seen), "the backup was looked at while it was written"
    assert search.found == set()
    plain = str(tmp_path / "plain")
    execute_backup(
        fleet, plan_backup(fleet, secretive, encryption=False, compression="none", output_path=plain)
    )
    search.files()
    assert {what for what, _ in search.found} == {"a row", "a file"}, (
        "what is not sealed would have been seen"
    )


# Fine in the session that makes it, and not in that of a restore: there the rows are what is wrong with it.
PICKY = {
    "could not be loaded": """
        CREATE DOMAIN title AS text CHECK (current_setting('app.fine', true) IS NOT NULL);
        ALTER TABLE plays ALTER song TYPE title
    """,
    "could not be made": """
        CREATE FUNCTION kind(song text) RETURNS text LANGUAGE sql IMMUTABLE AS
            'SELECT CASE WHEN current_setting(''app.fine'', true) IS NULL THEN left(song, 20) ELSE song END';
        CREATE UNIQUE INDEX ON plays (kind(song))
    """,
}


@pytest.mark.parametrize("failure", PICKY)
def test_rows_the_server_refuses_and_repeats_are_in_no_error_or_log(
    fleet: Fleet,
    secretive: Tenant,
    environment: dict[str, str],
    session_home: Path,
    tmp_path: Path,
    failure: str,
) -> None:
    """Postgres repeats, in the details of its errors, the row it did not like."""
    with fleet.session(secretive) as connection:
        connection.execute("SET LOCAL app.fine = 'yes'")
        connection.execute(PICKY[failure].encode())
    search = search_for(fleet, secretive, environment, session_home, tmp_path)
    picky = find_backup(fleet, execute_backup(fleet, plan_backup(fleet, secretive)).backup_id)
    code, said = command(search, environment, tmp_path, "restore", f"{secretive.slug}_b", picky.path)
    assert (code, failure in said, "Traceback" in said) == (1, True, True), said
    assert search.found == set()


def test_keys_are_in_no_error_or_log_when_a_backup_or_its_key_is_wrong(
    fleet: Fleet, secretive: Tenant, environment: dict[str, str], session_home: Path, tmp_path: Path
) -> None:
    search = search_for(fleet, secretive, environment, session_home, tmp_path)
    backup = find_backup(fleet, execute_backup(fleet, plan_backup(fleet, secretive)).backup_id)
    damaged = next(Path(backup.path).glob("data/*plays*"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, said = command(search, environment, tmp_path, "restore", f"{secretive.slug}_c", backup.path)
    assert (code, "plays" in said) == (1, True), said
    wrong = environment | {"BACKUP_ENCRYPTION_KEY": b64encode(MASTER).decode()}
    search.words["another master key"] = spellings(MASTER)
    code, said = command(search, wrong, tmp_path, "backup", secretive.slug, "")
    assert (code, "master key" in said) == (1, True), said
    assert search.found == set()


def search_for(
    fleet: Fleet, tenant: Tenant, environment: dict[str, str], session_home: Path, tmp_path: Path
) -> Search:
    """Looks for the tenant's words and keys everywhere but in its files, and beside the master key's."""
    master = environment["BACKUP_ENCRYPTION_KEY"]
    words = {
        "a row": [ROW.encode()],
        "a file": [FILE.encode()],
        "the master key": [master.encode(), *spellings(b64decode(master))],
        "the tenant's key": spellings(fleet.tenant_key(tenant)[1]),
    }
    home = fleet.settings.home
    logs = session_home / "postgres" / "data" / "log"
    return Search(words, [tmp_path, home, logs], [fleet.files(tenant).parent.parent, home / "keys"])
