"""`tenant-ops demo`, `dev` and `stop`: try it, look at it, put it away."""

import os
import shutil
import subprocess
import sys
from typing import Annotated

import typer

from tenant_ops.cli.output import STDERR
from tenant_ops.cli.running import AsJson, open_fleet
from tenant_ops.platform import cache, embedded
from tenant_ops.platform.settings import PACKAGE_ROOT, Settings


def demo(
    scenario: Annotated[
        str,
        typer.Option(help="full-demo, complete-workflow, performance-benchmark or integration-tests."),
    ] = "full-demo",
    tenant_count: Annotated[int, typer.Option(min=1, max=1_000, help="Tenants to work with.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Run the whole flow on real data and prove the outcome; running it again starts where it stands."""
    from tenant_ops.cli.showing import show_demo

    with open_fleet() as fleet:
        code = show_demo(fleet, scenario, tenant_count=tenant_count, as_json=as_json)
    if code:
        raise typer.Exit(code)


def dev(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where the UI listens.")] = 3000,
    host: Annotated[str, typer.Option(help="Address the UI listens on; it has no login.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI on this installation's runs and data, with schedules and sensors running."""
    settings = Settings.load()
    if settings.database_url is None:
        embedded.postgres(settings.home)  # held by this process for as long as the UI is open
    STDERR.print(f"Dagster UI: http://{host}:{port} (Ctrl-C ends it)", highlight=False)
    # Without a home Dagster says that it uses a temporary one that will be removed, though no history is in
    # it; with the checkout as its home it leaves folders behind there.
    home = settings.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PACKAGE_ROOT / "dagster.yaml", home / "dagster.yaml")
    environment = {"DAGSTER_HOME": str(home), **os.environ}
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "-h", host, "-p", str(port)]
    try:
        raise typer.Exit(subprocess.call(command, cwd=PACKAGE_ROOT, env=environment))
    except KeyboardInterrupt:  # the terminal told Dagster too; it has ended
        raise typer.Exit(0) from None


def stop() -> None:
    """Stop the embedded servers of this installation; the next command starts them again."""
    home = Settings.load().home
    was_running = embedded.is_running(home)
    embedded.stop(home)
    cache.stop(home)
    STDERR.print("stopped." if was_running else "nothing was running.")
