"""JUnit XML: what a build server reads of a validation."""

from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.validation import Rule, Where, junit


def a_rule(name: str, level: Any = "data") -> Rule:
    return Rule(f"{level}.{name}", level, "error", "It holds.", "Mend it.", Where("false"), "tracks")


RULES = [a_rule("broken"), a_rule("blind"), a_rule("sound"), a_rule("sound", "schema")]


def document(message: str = "No title.") -> dict[str, Any]:
    found = {"rule": "data.broken", "severity": "error", "subject": "tracks.title", "message": message}
    return {
        "tenant": "acme",
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "findings": [{**found, "count": 1200, "sample": ["track_id=7"], "remediation": "Write one."}],
        "muted": [],
        "unchecked": [{"rule": "data.blind", "reason": "tracks has no rows."}],
    }


def test_a_level_is_a_suite_and_a_rule_a_case() -> None:
    root = ElementTree.fromstring(junit([(RULES, document())]))
    assert [suite.attrib["name"] for suite in root] == ["acme.schema", "acme.data"]
    assert {name: root.attrib[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    broken, blind, sound = root[1]
    assert (broken.attrib["name"], broken.attrib["classname"]) == ("data.broken", "acme.data.tracks")
    assert broken[0].attrib == {"type": "error", "message": "No title."}
    assert broken[0].text == (
        "tracks.title: No title. (1,200 found)\nFor example: track_id=7\nWhat to do: Write one."
    )
    assert blind[0].tag == "skipped" and blind[0].attrib["message"] == "tracks has no rows."
    assert len(sound) == 0


def test_a_tenant_that_could_not_be_validated_is_an_error_and_hides_no_other() -> None:
    results = [(RULES, {"tenant": "gone", "error": "it has no tables."}), (RULES, document())]
    root = ElementTree.fromstring(junit(results))
    assert root.attrib["errors"] == "1" and len(root) == 3
    assert root[0][0][0].attrib["message"] == "it has no tables."


@given(st.text())
def test_no_text_makes_the_file_unreadable(text: str) -> None:
    root = ElementTree.fromstring(junit([(RULES, document(text))]))
    assert root.find(".//failure") is not None and root.attrib["tests"] == "4"
