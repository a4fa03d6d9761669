"""`validate-data` in a build: what fails it, and the JUnit file it leaves."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import DONE, FINDINGS, Outcome


def test_a_build_fails_by_severity_or_score_and_keeps_junit(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, fleet: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "validation.xml"
    schema = ("validate-data", "--tenant-id", "acme", "--validation-types", "schema")
    assert tenant_ops(*schema, "--junit", str(file), "--min-score", "100").code == DONE
    assert ElementTree.parse(file).getroot().attrib["failures"] == "0"
    with fleet.session(tenant) as connection:
        connection.execute("ALTER TABLE users ADD COLUMN extra text")
    assert tenant_ops(*schema, "--junit", str(file)).code == FINDINGS
    assert ElementTree.parse(file).getroot().attrib["failures"] == "1"
    assert tenant_ops(*schema, "--fail-on", "never").code == DONE
    assert tenant_ops(*schema, "--fail-on", "never", "--min-score", "100").code == FINDINGS
