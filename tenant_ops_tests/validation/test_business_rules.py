"""What the business rules ask of a tier, and which catalogs they are for."""

from dataclasses import replace

from tenant_ops.datasets import MUSIC, Catalog, Column, Dataset
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.tenants.tiers import tier
from tenant_ops.validation.levels.business import BUSINESS_RULES, business_rules
from tenant_ops.validation.levels.business.limits import LIMIT_RULES
from tenant_ops_tests.validation.conftest import examined
from tenant_ops_tests.validation.planted.business import BUSINESS


def test_every_rule_that_a_row_can_break_has_a_planted_fault() -> None:
    planted = {key.partition("/")[0] for _, expected in BUSINESS.values() for key in expected}
    assert {rule.id for rule in BUSINESS_RULES} - planted == {rule.id for rule in LIMIT_RULES}


def test_what_a_tier_does_not_allow_is_found(sound: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = sound
    starter = replace(tenant, tier_name="starter")
    more = (
        "INSERT INTO users (user_id, email, display_name, role, status, created_at) "
        "SELECT gen_random_uuid(), n || '@songs.example', 'One of many', 'viewer', 'active', now() "
        f"FROM generate_series(1, {tier('starter').max_users}) n"
    )
    found = examined(fleet, starter, more, "UPDATE integrations SET kind = 's3', status = 'enabled'")
    wanted = {"business.users_within_tier/users": 20, "business.integrations_within_tier/integrations": 4}
    assert {one.key: one.count for one in found.findings if "_within_tier" in one.rule} == wanted


def test_a_catalog_gets_the_rules_of_the_datasets_it_has_with_their_columns() -> None:
    assert business_rules(MUSIC) == BUSINESS_RULES
    extended = replace(
        MUSIC["tracks"], columns=(*MUSIC["tracks"].columns, Column("mood", "text", nullable=True))
    )
    other = Catalog("other", "1", (MUSIC["artists"], extended))
    assert {rule.id for rule in business_rules(other)} == {"business.storage_within_tier"}
    people = Dataset("users", "Others.", (Column("user_id", "uuid"),), ("user_id",))
    assert {rule.dataset for rule in business_rules(Catalog("other", "1", (people,)))} == {None}
    accounts = {
        rule.id for rule in business_rules(Catalog("other", "1", (MUSIC["users"], MUSIC["sessions"])))
    }
    assert {"business.session_after_account", "business.one_active_admin"} <= accounts
