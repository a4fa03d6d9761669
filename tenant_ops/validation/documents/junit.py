"""Validation as JUnit XML, which build servers read: a suite per tenant and level, a case per rule.

Here: what becomes a case, a failure, a skip. Not here: documents for people (`html.py`, `markdown.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from tenant_ops.validation.rules import LEVELS, Rule

Validated = tuple[Sequence[Rule], Mapping[str, Any]]


def junit(results: Iterable[Validated]) -> str:
    """One JUnit document of validated tenants.

    A rule that found something is a failure, one that could not be checked, or is muted, is skipped with the
    reason, one that stands is passed. Names are rule ids, which stay: a build server can follow a case
    over time.

    Args:
        results: For each tenant its planned rules, and its report as a document (`as_document`); a document
            with an `error` stands for a tenant that could not be validated.
    """
    root = ElementTree.Element("testsuites", name="tenant-ops validate-data")
    for rules, document in results:
        if "error" in document:
            suite = ElementTree.SubElement(root, "testsuite", name=f"{_xml(document['tenant'])}.validation")
            case = ElementTree.SubElement(
                suite, "testcase", classname=suite.attrib["name"], name="validation"
            )
            ElementTree.SubElement(case, "error", message=_xml(document["error"]))
            _count(suite)
            continue
        for level in LEVELS:
            if some := [rule for rule in rules if rule.level == level]:
                _suite(root, f"{_xml(document['tenant'])}.{level}", some, document)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.attrib[name]) for suite in root)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ElementTree.Element, name: str, rules: Sequence[Rule], document: Mapping[str, Any]) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=name, timestamp=_xml(document["started_at"])[:19])
    skipped = {one["rule"]: one["reason"] for one in document["unchecked"]}
    skipped |= {one["rule"]: f"Muted: {one['reason']}" for one in document["muted"]}
    for rule in rules:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{name}.{rule.dataset or 'tenant'}", name=rule.id
        )
        if found := [one for one in document["findings"] if one["rule"] == rule.id]:
            severity, message = found[0]["severity"], found[0]["message"]
            failure = ElementTree.SubElement(case, "failure", type=severity, message=_xml(message))
            failure.text = _xml("\n".join(map(_told, found)))
        elif rule.id in skipped:
            ElementTree.SubElement(case, "skipped", message=_xml(skipped[rule.id]))
    _count(suite)


def _told(finding: Mapping[str, Any]) -> str:
    lines = [f"{finding['subject']}: {finding['message']} ({finding['count']:,} found)"]
    if finding["sample"]:
        lines.append(f"For example: {'; '.join(finding['sample'])}")
    return "\n".join([*lines, f"What to do: {finding['remediation']}"])


def _count(suite: ElementTree.Element) -> None:
    suite.set("tests", str(len(suite)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))


def _xml(text: str) -> str:
    """The text without characters XML 1.0 cannot hold, which would make the whole file unreadable."""
    return "".join(sign if sign in "\t\n" or _allowed(ord(sign)) else "\ufffd" for sign in text)


def _allowed(code: int) -> bool:
    return 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
