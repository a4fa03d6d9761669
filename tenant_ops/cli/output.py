"""What the command line prints: one table per kind of report, or JSON.

Here: columns and colours. Not here: what a report holds (the domain packages).
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tenant_ops.audit import StoredReport
from tenant_ops.platform.reports import as_document, dumps

# Into a file or a pipe there is no width to fit, and eighty columns would fold every name.
PIPED_WIDTH = 160
STDOUT = Console(soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_WIDTH)
STDERR = Console(stderr=True, soft_wrap=True)

# What an operator needs first, by operation; everything else is in --json and in the UI.
COLUMNS: dict[str, tuple[str, ...]] = {
    "init-tenant": ("tenant", "tier", "state", "schema", "login", "version", "tables", "created", "seconds"),
    "load": (
        "tenant",
        "mode",
        "read",
        "inserted",
        "updated",
        "unchanged",
        "quarantined",
        "rejected",
        "seconds",
    ),
    "stage": ("tenant", "dataset", "state", "read", "staged", "quarantined", "seconds"),
    "merge": (
        "tenant",
        "dataset",
        "inserted",
        "updated",
        "unchanged",
        "skipped",
        "deleted",
        "quarantined",
        "rejected",
        "passed_over",
        "total",
        "seconds",
    ),
    "validate": ("tenant", "score", "coverage", "findings", "seconds"),
    "backup": (
        "tenant",
        "backup_id",
        "type",
        "changes",
        "rows",
        "raw_bytes",
        "stored_bytes",
        "encrypted",
        "seconds",
    ),
    "drill": (
        "tenant",
        "aim",
        "backup_id",
        "depth",
        "rows",
        "equal",
        "not_compared",
        "problems",
        "rpo_s",
        "rto_s",
        "mb_per_s",
    ),
    "restore": ("tenant", "source", "backup_id", "mode", "rows", "equal", "safety_backup", "seconds"),
    "health": ("tenant", "verdict", "size_bytes", "live_rows", "connections", "backup_age_s", "alerts"),
    "cleanup": ("tenant", "rows", "items", "cleanup_id", "undo_until", "backup", "notes", "seconds"),
    "migrate": ("tenant", "from_version", "to_version", "steps", "backup", "message", "seconds"),
}
# Shown where one of them is not 0.
RARE = frozenset({"skipped", "deleted", "rejected", "passed_over", "changes"})
# Laying out ten thousand rows takes rich ten seconds, and nobody reads them.
MOST_ROWS = 500
MOST_NOTES, MOST_REASONS = 20, 5
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
OUTCOME_STYLE = {"done": "green", "findings": "yellow", "failed": "red"}


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(dumps(as_document(value)).decode() + "\n")


def print_reports(reports: Sequence[StoredReport]) -> None:
    """A table per operation, in the order the operations ran."""
    for operation in dict.fromkeys(report.operation for report in reports):
        group = [report for report in reports if report.operation == operation]
        rows = [
            {**report.body, **report.body.get("metrics", {}), "outcome": report.outcome} for report in group
        ]
        failed = [row for row in rows if row["outcome"] == "failed"]
        good = [row for row in rows if row["outcome"] != "failed"]
        if good:
            print_table(good, COLUMNS.get(operation) or tuple(good[0]), title=operation)
        if failed:
            print_table(failed, ("tenant", "error"), title=f"{operation}: failed")


def print_notes(reports: Sequence[StoredReport]) -> None:
    """What an operator must not miss: rows a load left out, columns nobody knows, another type of backup."""
    notes = [note for report in reports for note in _notes(report.operation, report.body)]
    for note in notes[:MOST_NOTES]:
        STDOUT.print(note, markup=False, highlight=False)
    if len(notes) > MOST_NOTES:
        STDOUT.print(f"and {len(notes) - MOST_NOTES:,} more notes; --json holds all of them.")


def _notes(operation: str, body: Mapping[str, Any]) -> Iterator[str]:
    if operation == "merge" and (reasons := body.get("reasons")):
        said = [f"{reason} ({count:,})" for reason, count in reasons.items()]
        more = f", and {len(said) - MOST_REASONS} more reasons" if len(said) > MOST_REASONS else ""
        yield (
            f"{body['tenant']}: {sum(reasons.values()):,} rows of {body['dataset']} were left out: "
            f"{', '.join(said[:MOST_REASONS])}{more}. Look at them: "
            f"tenant-ops quarantine list --tenant-id {body['tenant']} --data-type {body['dataset']}"
        )
    if operation == "backup":
        if asked := body.get("instead_of"):
            yield f"{body['tenant']}: a full backup instead of the {asked} one: {body['because']}"
        for warning in body.get("warnings", ()):
            yield f"{body['tenant']}: {warning}"
    if operation == "restore":
        yield from (
            f"{body['tenant']}: {body[said]}" for said in ("granularity", "verified") if body.get(said)
        )
        yield from (f"{body['tenant']}: {warning}" for warning in body.get("warnings", ()))
    if operation == "stage":
        for drifted in body.get("drift", ()):
            yield f"{body['tenant']}: {drifted['file']}, column {drifted['column']}: {drifted['outcome']}"
        for path in body.get("proposals", ()):
            yield f"{body['tenant']}: a migration is proposed in {path}"


def print_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, title: str) -> None:
    """Rows under the given columns; numbers to the right, with thousands set apart."""
    rows = list(rows)
    if not rows:  # a table without columns prints nothing, its title neither
        STDOUT.print(title)
        return
    shown = [name for name in columns if any(row.get(name) if name in RARE else name in row for row in rows)]
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in shown:
        numeric = all(_is_number(row.get(name)) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows[:MOST_ROWS]:
        table.add_row(
            *(_cell(row.get(name)) for name in shown), style=OUTCOME_STYLE.get(row.get("outcome", ""), "")
        )
    STDOUT.print(table)
    if len(rows) > MOST_ROWS:
        STDOUT.print(f"and {len(rows) - MOST_ROWS:,} more; --json prints all of them.")


def print_plan(plan: Any, *, title: str) -> None:
    """A plan: its plain fields, then a table for each of its lists. This is the dry run."""
    document = as_document(plan)
    lists = {name: value for name, value in document.items() if _is_records(value)}
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in document.items():
        if name not in lists and value not in (None, [], {}, ""):
            table.add_row(name.replace("_", " "), _cell(value))
    STDOUT.print(table)
    for name, rows in lists.items():
        print_table(rows, tuple(rows[0]), title=name.replace("_", " "))


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.3f}".rstrip("0").rstrip(".")
        case dict():
            return "\n".join(f"{key}: {_cell(inner)}" for key, inner in value.items()) or "-"
        case list() if _is_records(value):
            return "\n".join(map(_record, value[:20]))
        case list():
            return ", ".join(str(item) for item in value[:20]) + (" ..." if len(value) > 20 else "") or "-"
        case str() if _MOMENT.match(value):
            return f"{value[:10]} {value[11:19]}Z" if value.endswith("+00:00") else value
        case _:
            return _plain(str(value))


def _record(record: dict[str, Any]) -> str:
    """A record inside a cell: its message where it has one, else all that it says."""
    if "message" in record:
        return f"{record.get('severity', 'note')}: {_cell(record['message'])}"
    return ", ".join(f"{name} {_cell(value)}" for name, value in record.items() if value)


def _plain(text: str) -> str:
    """The text without what a terminal or rich would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text).replace("[", r"\[")
