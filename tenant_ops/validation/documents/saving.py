"""Writing documents to files.

Here: names and folders. Not here: what is in them.
"""

from pathlib import Path

from tenant_ops.platform.errors import InputError
from tenant_ops.validation.documents.html import html
from tenant_ops.validation.report import ValidationReport


def save_html(report: ValidationReport, folder: Path) -> Path:
    """Write the report as `validation-<tenant>.html` into the folder, making it when needed.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = folder / f"validation-{report.tenant}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(html(report), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report cannot be written: {error.strerror}.", where=str(path)) from error
    return path
