"""The Dagster UI as an operator uses it: look at the graph, materialise one tenant, see its checks."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tenant_ops.platform.settings import PACKAGE_ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_S, RUN_S = 120, 120


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a home of its own, and nothing else configured."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, "TENANT_OPS_HOME": str(tmp_path_factory.mktemp("ui") / "home")}


def left_behind() -> set[str]:
    """What Dagster would put into its home, were that the checkout."""
    return {name for name in ("logs", ".logs_queue", "history", "storage") if (PACKAGE_ROOT / name).exists()}


@pytest.fixture(scope="module")
def left_before() -> set[str]:
    """What was left behind in the checkout by others, before the UI is started."""
    return left_behind()


@pytest.fixture(scope="module")
def ui(
    left_before: set[str], environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """`tenant-ops dev` with the tenant `acme` registered: the address of its UI."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    tenant_ops = [sys.executable, "-m", "tenant_ops"]
    init = [*tenant_ops, "init-tenant", "--tenant-id", "acme"]
    subprocess.run(init, env=environment, cwd=PACKAGE_ROOT, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "dev.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*tenant_ops, "dev", "--port", str(port)],
            env=environment,
            cwd=PACKAGE_ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield wait_for(f"http://127.0.0.1:{port}", server, log)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
        subprocess.run([*tenant_ops, "stop"], env=environment, cwd=PACKAGE_ROOT, capture_output=True)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=2):
                return address
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the UI did not answer:\n{log.read_text()}")


@pytest.fixture
def page(ui: str) -> Iterator[Page]:
    """A browser page on the UI."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, base_url=ui)
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield page
        browser.close()


def test_the_graph_shows_the_groups_in_the_order_data_flows(page: Page) -> None:
    page.goto("/asset-groups")
    for group in ("tenants", "fixtures", "datasets", "validation", "backups", "operations"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible()


def test_one_tenant_is_materialised_and_its_check_is_seen(page: Page) -> None:
    page.goto("/assets/fixtures/artists?view=partitions&partition=acme")
    expect(page.get_by_text("Missing (1)")).to_be_visible()

    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("1 partition")).to_be_visible()
    dialog.get_by_role("button", name="Launch 1 run").click()

    expect(page.get_by_text("Materialized (1)")).to_be_visible(timeout=RUN_S * 1_000)
    page.reload()  # the page counts partitions live, the open one's details when it is opened
    expect(page.get_by_text("quarantined", exact=True).first).to_be_visible()

    page.goto("/assets/fixtures/artists?view=checks")
    expect(page.get_by_text("schema").first).to_be_visible()
    expect(page.get_by_text("Passed").first).to_be_visible()
    expect(page.get_by_text("acme").first).to_be_visible()


def test_a_run_page_opens_from_the_list_of_runs(page: Page) -> None:
    page.goto("/runs")
    expect(page.get_by_text("init_tenant").first).to_be_visible()
    expect(page.get_by_text("Success").first).to_be_visible()


def test_the_ui_leaves_nothing_behind_in_the_checkout(left_before: set[str], ui: str) -> None:
    assert left_behind() == left_before
