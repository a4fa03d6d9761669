"""Faults planted one by one in a sound tenant: each is found by its rule with its rows, and no other is."""

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Finding
from tenant_ops_tests.validation.conftest import NEIGHBOUR, Spoiled, examined, named
from tenant_ops_tests.validation.planted import PLANTED

CASES = [
    pytest.param(statements, expected, id=f"{level}: {name}")
    for level, faults in PLANTED.items()
    for name, (statements, expected) in faults.items()
]


def by_key(findings: list[Finding]) -> dict[str, int]:
    return {finding.key: finding.count for finding in findings}


def test_nothing_is_found_in_a_sound_tenant_and_everything_is_checked(sound: tuple[Fleet, Tenant]) -> None:
    healthy = examined(*sound)
    assert healthy.findings == []
    assert [one.rule for one in healthy.unchecked] == ["performance.slow_statements"]


@pytest.mark.parametrize(("statements", "expected"), CASES)
def test_a_planted_fault_is_found_and_nothing_else(
    spoiled: Spoiled, sound: tuple[Fleet, Tenant], statements: list[str], expected: dict[str, int]
) -> None:
    fleet, tenant = sound
    neighbour = fleet.registry.get(NEIGHBOUR)
    wanted = {named(key, tenant, neighbour).as_string(): count for key, count in expected.items()}
    assert by_key(spoiled(*statements)) == wanted
