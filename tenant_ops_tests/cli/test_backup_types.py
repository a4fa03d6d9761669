"""`tenant-ops backup --backup-type`: what is taken is what is said."""

from collections.abc import Callable

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, Outcome


def test_another_type_than_asked_for_is_said_and_the_next_one_is_as_asked(
    tenant_ops: Callable[..., Outcome], fleet: Fleet, tenant: Tenant
) -> None:
    asked = ("backup", "--tenant-id", tenant.slug, "--backup-type", "incremental", "--compression-level", "3")
    (plan,) = tenant_ops(*asked, "--dry-run", "--json").json["plans"]
    assert (plan["type"], plan["instead_of"], plan["level"]) == ("full", "incremental", 3)
    first = tenant_ops(*asked)
    assert first.code == DONE, first.err
    assert f"{tenant.slug}: a full backup instead of the incremental one: {plan['because']}" in first.out
    second = tenant_ops(*asked, "--measure", "--json")
    assert second.code == DONE, second.err
    body = second.json["reports"][0]["body"]
    assert (body["type"], body["instead_of"], body["depth"]) == ("incremental", None, 1)
    for wrong in (("--backup-type", "hourly"), ("--compression-level", "99")):
        assert tenant_ops("backup", "--tenant-id", tenant.slug, *wrong).code == BAD_INPUT
