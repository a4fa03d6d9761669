"""Faults planted in a sound tenant, one by one and sixty together: their rules find them, with their rows."""

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Finding
from tenant_ops.validation.levels.data.history import HISTORY_RULES
from tenant_ops_tests.validation.conftest import NEIGHBOUR, Spoiled, examined, named
from tenant_ops_tests.validation.planted import PLANTED, SIDE_BY_SIDE

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
    assert [one.rule for one in healthy.unchecked] == [
        *(rule.id for rule in HISTORY_RULES),  # it has no past yet
        "performance.slow_statements",
    ]


@pytest.mark.parametrize(("statements", "expected"), CASES)
def test_a_planted_fault_is_found_and_nothing_else(
    spoiled: Spoiled, sound: tuple[Fleet, Tenant], statements: list[str], expected: dict[str, int]
) -> None:
    fleet, tenant = sound
    neighbour = fleet.registry.get(NEIGHBOUR)
    wanted = {named(key, tenant, neighbour).as_string(): count for key, count in expected.items()}
    assert by_key(spoiled(*statements)) == wanted


def test_sixty_faults_are_all_found_together_and_nothing_else(
    spoiled: Spoiled, sound: tuple[Fleet, Tenant]
) -> None:
    fleet, tenant = sound
    neighbour = fleet.registry.get(NEIGHBOUR)
    # Each is planted as if it were alone: as whoever runs this, in the tenant's schema.
    again = ["RESET ROLE", "SET search_path TO $schema"]
    faults = [PLANTED[level][name] for level, names in SIDE_BY_SIDE.items() for name in names]
    assert {level: len(names) for level, names in SIDE_BY_SIDE.items()} == dict.fromkeys(PLANTED, 12)
    found = spoiled(*(one for statements, _ in faults for one in (*again, *statements)), *again)
    wanted = {
        named(key, tenant, neighbour).as_string(): count
        for _, expected in faults
        for key, count in expected.items()
    }
    assert by_key(found) == wanted
    assert {finding.level for finding in found} == set(PLANTED)
