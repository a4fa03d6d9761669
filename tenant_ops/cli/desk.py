"""`tenant-ops demo`, `dev` and `stop`: try it, look at it, put it away."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from tenant_ops.cli.output import STDERR
from tenant_ops.cli.running import AsJson, open_fleet
from tenant_ops.platform import embedded
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
    environment = dict(os.environ)
    environment.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    command = [sys.executable, "-m", "dagster", "dev", "-h", host, "-p", str(port)]
    raise typer.Exit(subprocess.call(command, cwd=PACKAGE_ROOT, env=environment))


def stop() -> None:
    """Stop the embedded servers of this installation; the next command starts them again."""
    stopped = embedded.stop(Settings.load().home)
    STDERR.print("stopped." if stopped else "nothing was running.")
