"""When a validation ends in exit code 3, and the JUnit file it leaves.

Here: the flags of `validate-data` for build servers. Not here: the score (`validation/report.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tenant_ops.audit import StoredReport
from tenant_ops.platform.errors import InputError

if TYPE_CHECKING:
    from tenant_ops.validation import ValidationPlan

ORDER = ("critical", "error", "warning", "info")
FailOn = Annotated[
    Literal["critical", "error", "warning", "info", "never"],
    typer.Option(help="Exit code 3 from findings this grave on; never: whatever is found."),
]
MinScore = Annotated[
    int | None,
    typer.Option(min=0, max=100, help="Exit code 3 below this score; one that is unknown is below."),
]
JunitFile = Annotated[Path | None, typer.Option(help="Write JUnit XML for build servers to this file.")]


@dataclass(frozen=True)
class Judge:
    """Writes the JUnit file and says whether what was found is grave enough for exit code 3."""

    plans: "Sequence[ValidationPlan]"
    fail_on: str
    min_score: int | None
    junit: Path | None

    def __call__(self, reports: Sequence[StoredReport]) -> bool:
        """Whether one of the tenants validated failed."""
        bodies = [report.body for report in reports if report.operation == "validate"]
        if self.junit is not None:
            self._write(self.junit, bodies)
        return any(self._grave(body) for body in bodies if "error" not in body)

    def _grave(self, body: dict[str, Any]) -> bool:
        if self.min_score is not None and (body["score"] is None or body["score"] < self.min_score):
            return True
        counting = () if self.fail_on == "never" else ORDER[: ORDER.index(self.fail_on) + 1]
        return any(finding["severity"] in counting for finding in body["findings"])

    def _write(self, path: Path, bodies: Sequence[dict[str, Any]]) -> None:
        from tenant_ops.validation import junit  # pulls in what other commands need not wait for

        rules = {plan.tenant: plan.rules for plan in self.plans}
        try:
            path.write_text(junit([(rules[body["tenant"]], body) for body in bodies]), encoding="utf-8")
        except OSError as error:
            raise InputError(f"it cannot be written: {error.strerror}.", where=str(path)) from error
