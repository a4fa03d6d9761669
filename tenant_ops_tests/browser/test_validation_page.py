"""The page of a validation in a browser: narrow and wide, in the dark, with hostile content."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tenant_ops.validation import Finding, Outcome, ValidationReport, html

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = '<script>document.title="run"</script><img src=x onerror="document.title=1"> \u202eright to left '
LONG = "x" * 400


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


def report() -> ValidationReport:
    """One with everything a page shows, as hostile as data may be."""
    findings = tuple(
        Finding(
            key=f"data.{severity}/users",
            rule=f"data.{severity}",
            level="data",
            severity=severity,
            dataset="users",
            subject="users",
            message=f"{EVIL}{LONG}",
            count=3,
            sample=(f"user_id={EVIL}",),
            remediation=LONG,
        )
        for severity in ("critical", "error", "warning", "info")
    )
    levels = (Outcome("schema", 100, 9, 9, 0, None), Outcome("data", 41, 9, 8, 4, "critical"))
    unknown = Outcome("business", None, 9, 0, 0, None)
    return ValidationReport(
        tenant=f"acme {EVIL}",
        tenant_id="0" * 32,
        version="1.0.0",
        score=41,
        coverage=0.7,
        levels=(*levels, unknown),
        datasets=(Outcome("users", 41, 9, 9, 4, "critical", rows=1_000_000),),
        findings=findings,
        unchecked=(),
        explanation=(f"-50: 3 in users: {EVIL}",),
        fixes=None,
        started_at="2026-11-20T14:03:00+00:00",
        seconds=0.1,
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_runs_nothing_and_asks_for_nothing(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    path = tmp_path / "page.html"
    path.write_text(html(report()), encoding="utf-8")
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
    )
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title().startswith("Validation of acme <script>")
    assert asked == [path.as_uri()]
    assert said == []
    page.close()


def test_charts_are_told_in_words_too(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(html(report()), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    told = page.get_by_role("img").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert told == [
        "Score: 41 of 100",
        "Scores by level: schema 100, data 41, business unknown",
        "Broken rules by severity: critical 1, error 1, warning 1, info 1",
    ]
    page.close()
