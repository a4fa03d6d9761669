"""The `tenant-ops` command: flags in, a Dagster job run, a table or JSON out.

`commands.py` and its neighbours hold the commands, `running.py` what they share, `output.py` what is printed.
Reports go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 3 done with
findings.
"""

import sys

from tenant_ops.platform.errors import TenantOpsError


def main() -> None:
    """Run the command line and exit with its code; errors are sentences, never stack traces."""
    from tenant_ops.cli.commands import app  # the help of a wrong command needs no Dagster

    try:
        app()
    except TenantOpsError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on.", file=sys.stderr)  # noqa: T201
        sys.exit(130)
