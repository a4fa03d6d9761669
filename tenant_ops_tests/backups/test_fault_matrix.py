"""The page of faults names a test for each of them, and each of those tests exists."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "backup-faults.md"
NAMED = re.compile(r"`([a-z_/]+\.py)::(test_\w+)`")


def rows() -> dict[int, list[tuple[str, str]]]:
    """The tests that stand in each row, by its number."""
    lines = re.findall(r"^\| (\d+) \|(.*)$", PAGE.read_text(), re.MULTILINE)
    return {int(number): NAMED.findall(line) for number, line in lines}


def defined_in(file: Path) -> set[str]:
    """The tests of a file, read and not run."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {
        node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_has_a_test() -> None:
    found = rows()
    assert sorted(found) == list(range(1, 31))
    assert [number for number, tests in found.items() if not tests] == []


def test_every_test_the_page_names_exists() -> None:
    named = {test for tests in rows().values() for test in tests}
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if not (TESTS / file).is_file() or test not in defined_in(TESTS / file)
    ]
    assert missing == []
