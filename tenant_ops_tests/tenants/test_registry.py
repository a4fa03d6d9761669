"""The registry: every tenant once, found quickly, moved only along the allowed ways."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tenant_ops.platform.errors import InputError, UnknownTenant
from tenant_ops.tenants import Fleet, State, Tenant, offboard, plan_offboard
from tenant_ops.tenants.model import FOLLOWS


@pytest.fixture
def fleet(emptied_fleet: Fleet) -> Fleet:
    """A fleet without tenants."""
    return emptied_fleet


def fill(fleet: Fleet, count: int, state: State = State.ACTIVE) -> None:
    """Registry rows without schemas: enough for whatever only reads the registry."""
    with fleet.control.transaction() as connection:
        connection.execute(
            """
            INSERT INTO tenant_ops.tenant (id, key, slug, display_name, tier, state, created_at, updated_at)
            SELECT gen_random_uuid(), lpad(n::text, 13, 'a'), 'tenant_' || lpad(n::text, 6, '0'),
                   'Tenant ' || n, 'starter', %s, now() - make_interval(secs => n), now()
            FROM generate_series(1, %s) AS n
            """,
            (str(state), count),
        )


def test_ten_thousand_tenants_are_listed(fleet: Fleet) -> None:
    fill(fleet, 10_000)
    registry = fleet.registry
    assert len(registry.all()) == len(registry.slugs()) == 10_000


def test_tenants_are_listed_by_slug_and_slugs_in_order_of_registration(fleet: Fleet) -> None:
    fill(fleet, 3)
    assert [tenant.slug for tenant in fleet.registry.all()] == [f"tenant_00000{n}" for n in (1, 2, 3)]
    assert fleet.registry.slugs() == ("tenant_000003", "tenant_000002", "tenant_000001")


def test_a_listing_holds_the_states_asked_for(fleet: Fleet) -> None:
    fill(fleet, 2, State.SUSPENDED)
    assert fleet.registry.all() == ()
    assert len(fleet.registry.all((State.ACTIVE, State.SUSPENDED))) == 2


def test_found_tenants_come_in_the_order_asked(fleet: Fleet) -> None:
    fill(fleet, 5)
    found = fleet.registry.find(["tenant_000004", "nobody", "tenant_000002", "tenant_000004"])
    assert [tenant.slug for tenant in found] == ["tenant_000004", "tenant_000002", "tenant_000004"]


@pytest.mark.parametrize(
    ("asked", "similar"),
    [
        ("acme_crop", "acme_corp"),
        ("amce_corp", "acme_corp"),
        ("acme-corp", "acme_corp"),
        ("zzz", None),
    ],
)
def test_an_unknown_slug_gets_one_sentence_with_what_was_perhaps_meant(
    fleet: Fleet, asked: str, similar: str | None
) -> None:
    fleet.registry.register("acme_corp")
    with fleet.control.transaction() as connection:
        connection.execute("UPDATE tenant_ops.tenant SET state = 'active'")
    with pytest.raises(UnknownTenant) as refused:
        fleet.registry.get(asked)
    sentence = str(refused.value)
    assert sentence.startswith(f"unknown tenant {asked!r}.")
    assert f"tenant-ops init-tenant --tenant-id {asked}" in sentence
    assert ("Did you mean acme_corp?" in sentence) == (similar is not None)
    assert refused.value.exit_code == 2


def test_registering_twice_at_once_makes_one_tenant(fleet: Fleet) -> None:
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda _: fleet.registry.register("acme"), range(12)))
    assert len({tenant.id for tenant in made}) == 1
    assert made[0].state is State.REQUESTED
    assert made[0].display_name == "Acme"


def test_a_key_is_short_and_names_every_object(fleet: Fleet) -> None:
    tenant = fleet.registry.register("a" * 48)
    assert len(tenant.key) == 13
    names = [tenant.schema_name, tenant.stage_schema, *(tenant.role(kind) for kind in ("owner", "app"))]
    assert all(len(name.encode()) <= 63 for name in names)
    assert not any(tenant.slug in name for name in names)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("to", list(State))
def test_only_the_allowed_moves_happen(fleet: Fleet, state: State, to: State) -> None:
    tenant = fleet.registry.register("acme")
    with fleet.control.transaction() as connection:
        connection.execute("UPDATE tenant_ops.tenant SET state = %s", (str(state),))
    if to in FOLLOWS[state]:
        with fleet.control.transaction() as connection:
            fleet.registry.move(connection, tenant, to, "because")
        moved = fleet.registry.by_id(tenant.id)
        assert (moved.state, moved.state_reason) == (to, "because")
    else:
        with (
            pytest.raises(InputError, match=f"that is {state} cannot become {to}"),
            fleet.control.transaction() as connection,
        ):
            fleet.registry.move(connection, tenant, to)


def test_a_move_trusts_the_stored_state_not_the_one_in_hand(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        fleet.registry.move(connection, tenant, State.SUSPENDED)
    with (
        pytest.raises(InputError, match="that is suspended cannot become suspended"),
        fleet.control.transaction() as connection,
    ):
        fleet.registry.move(connection, tenant, State.SUSPENDED)


def test_an_erased_tenant_is_found_by_its_id_only(fleet: Fleet, tenant: Tenant) -> None:
    offboard(fleet, plan_offboard(fleet, "acme"), safety_copy=None)
    assert fleet.registry.by_id(tenant.id).state is State.ERASED
    assert fleet.registry.find(["acme"]) == ()
    assert fleet.registry.slugs(tuple(State)) == ("acme",)
    with pytest.raises(UnknownTenant, match="no tenant has the id"):
        fleet.registry.by_id(uuid4())
