"""`tenant-ops fixtures`: make fixture files of any size."""

from pathlib import Path
from typing import Annotated

import typer

from tenant_ops.cli.output import print_json, print_table
from tenant_ops.cli.running import AsJson
from tenant_ops.datasets import MUSIC
from tenant_ops.platform.progress import voice
from tenant_ops.platform.reports import as_document

app = typer.Typer(help="Make fixture files.", no_args_is_help=True)


@app.callback()
def fixtures() -> None:
    """Make fixture files."""


@app.command("generate")
def generate(
    rows: Annotated[
        int, typer.Option(min=1, help="Rows of the largest dataset; the others keep proportion.")
    ],
    seed: Annotated[int, typer.Option(help="The same seed makes the same bytes.")] = 1,
    output_path: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("generated"),
    format_: Annotated[
        str, typer.Option("--format", help="csv, json or ndjson, alone or with .gz or .zst; or parquet.")
    ] = "csv",
    as_json: AsJson = False,
) -> None:
    """Generate real-looking, referentially sound data for every dataset."""
    from tenant_ops.datasets.synthesis import write_fixtures

    report = write_fixtures(MUSIC, output_path, rows=rows, seed=seed, formats=format_, progress=voice())
    if as_json:
        print_json(report)
    else:
        written = as_document(report)["files"]
        columns = tuple(name for name in written[0] if name != "sha256")
        print_table(written, columns, title=str(output_path))
