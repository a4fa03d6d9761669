"""Writing documents to files.

Here: names, formats and folders. Not here: what is in them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import dumps
from tenant_ops.validation.documents.html import html
from tenant_ops.validation.documents.markdown import markdown
from tenant_ops.validation.report import ValidationReport

FORMATS: dict[str, Callable[[ValidationReport], str]] = {
    "html": html,
    "md": markdown,
    "json": lambda report: dumps(report).decode(),
}


def save_report(
    report: ValidationReport, folder: Path, formats: Sequence[str] = ("html",)
) -> tuple[Path, ...]:
    """Write the report as `validation-<tenant>.<format>` into the folder, making it when needed.

    Raises:
        InputError: there is no such format, or the folder cannot be written to.
    """
    check_formats(formats)
    paths = tuple(folder / f"validation-{report.tenant}.{name}" for name in dict.fromkeys(formats))
    for path in paths:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(FORMATS[path.suffix[1:]](report), encoding="utf-8")
        except OSError as error:
            raise InputError(f"the report cannot be written: {error.strerror}.", where=str(path)) from error
    return paths


def check_formats(formats: Sequence[str]) -> None:
    """Refuse what no report can be written as.

    Raises:
        InputError: there is no such format, or none at all.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InputError(
            f"there is no report format {unknown[0]!r}." if unknown else "it names no format.",
            where="--report-format",
            fix=f"Choose from: {', '.join(FORMATS)}.",
        )
