"""One tenant is one partition: naming tenants, adopting them from the registry, keeping both in step."""

from collections.abc import Iterator

import click
import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.orchestration.partitions import (
    LONGEST_KEY,
    MOST_IN_A_KEY,
    TENANTS,
    TenantPartitions,
    UnknownTenantPartition,
    named,
    partition_keys,
    sync,
)
from tenant_ops.platform.errors import InputError, OperationFailed

SLUGS = st.from_regex(r"[a-z][a-z0-9_]{1,47}", fullmatch=True)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The slugs a registry would know; tests add to it."""
    slugs: set[str] = set()
    monkeypatch.setattr(TenantPartitions, "known_slugs", staticmethod(lambda asked: slugs & set(asked)))
    return slugs


class TestNaming:
    def test_a_key_names_one_tenant_or_several(self):
        assert named("acme") == ["acme"]
        assert named("acme, globex,acme,") == ["acme", "globex"]
        assert named("") == []

    @given(st.lists(SLUGS, unique=True, max_size=300))
    def test_keys_name_every_tenant_once_in_order_and_fit_into_a_run_tag(self, slugs: list[str]):
        keys = partition_keys(slugs)

        assert [slug for key in keys for slug in named(key)] == slugs
        assert all(len(key) <= LONGEST_KEY and len(named(key)) <= MOST_IN_A_KEY for key in keys)

    def test_keys_are_as_few_as_can_be(self):
        assert partition_keys(f"t{n}" for n in range(MOST_IN_A_KEY)) == [
            ",".join(f"t{n}" for n in range(MOST_IN_A_KEY))
        ]
        assert len(partition_keys(f"t{n}" for n in range(MOST_IN_A_KEY + 1))) == 2


class TestUnknownTenants:
    def test_the_sentence_says_how_to_register_and_what_was_meant(self, instance: dg.DagsterInstance):
        sync(instance, ["acme", "globex"])

        with pytest.raises(UnknownTenantPartition) as refused:
            TENANTS.require(instance, ["acne"])

        assert str(refused.value) == (
            "unknown tenant 'acne'. Did you mean acme? Register it: tenant-ops init-tenant --tenant-id acne"
        )
        assert isinstance(refused.value, InputError)

    def test_dagsters_command_line_prints_it_as_a_sentence(
        self, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
    ):
        with pytest.raises(UnknownTenantPartition) as refused:
            TENANTS.require(instance, ["nosuch"])
        assert isinstance(refused.value, click.ClickException)

        refused.value.show()

        assert capsys.readouterr().err == (
            "Error: unknown tenant 'nosuch'. Register it: tenant-ops init-tenant --tenant-id nosuch\n"
        )
        assert refused.value.exit_code == 2

    def test_one_unknown_name_among_several_is_the_one_named(self, instance: dg.DagsterInstance):
        sync(instance, ["acme", "globex"])

        with pytest.raises(UnknownTenantPartition, match="Did you mean globex"):
            TENANTS.require(instance, ["acme", "glubex"])

    def test_a_registry_that_does_not_answer_is_a_sentence_too(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ):
        def down(slugs: list[str]) -> set[str]:
            raise OperationFailed("the database does not answer.", where="localhost/app")

        monkeypatch.setattr(TenantPartitions, "known_slugs", staticmethod(down))

        with pytest.raises(click.ClickException, match="localhost/app: the database does not answer"):
            TENANTS.require(instance, ["acme"])


class TestAdoption:
    def test_a_registered_tenant_becomes_a_partition_when_it_is_first_named(
        self, instance: dg.DagsterInstance, registry: set[str]
    ):
        registry.add("acme")

        assert TENANTS.has_partition_key("acme", dynamic_partitions_store=instance)
        assert instance.get_dynamic_partitions("tenant") == ["acme"]

    def test_nothing_else_becomes_a_partition(self, instance: dg.DagsterInstance, registry: set[str]):
        registry.add("acme")

        assert not TENANTS.has_partition_key("acme,nosuch", dynamic_partitions_store=instance)
        assert not TENANTS.has_partition_key("", dynamic_partitions_store=instance)
        assert instance.get_dynamic_partitions("tenant") == ["acme"]

    def test_the_registry_is_not_asked_about_tenants_that_are_partitions_already(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ):
        asked: list[str] = []
        monkeypatch.setattr(TenantPartitions, "known_slugs", staticmethod(lambda slugs: asked.extend(slugs)))
        sync(instance, ["acme"])

        TENANTS.require(instance, ["acme"])

        assert asked == []


class TestRanges:
    def test_a_range_follows_the_order_of_registration(self, instance: dg.DagsterInstance):
        sync(instance, ["zeta", "acme", "mid", "last"])

        assert TENANTS.between(instance, "acme", "last") == ["acme", "mid", "last"]
        assert TENANTS.between(instance, "last", "acme") == ["acme", "mid", "last"]

    def test_dagster_sees_the_tenants_a_key_names_one_by_one(self, instance: dg.DagsterInstance):
        sync(instance, ["acme", "globex", "initech"])

        with dg.partition_loading_context(dynamic_partitions_store=instance):
            key = dg.PartitionKeyRange("initech,acme", "initech,acme")
            assert TENANTS.get_partition_keys_in_range(key) == ["initech", "acme"]
            subset = TENANTS.subset_with_partition_keys(["initech,acme"])
            assert set(subset.get_partition_keys()) == {"initech", "acme"}


class TestSync:
    def test_partitions_follow_the_registry(self, instance: dg.DagsterInstance):
        assert sync(instance, ["acme", "globex"]).added == ("acme", "globex")

        changed = sync(instance, ["globex", "initech"])

        assert (changed.added, changed.removed, changed.left) == (("initech",), ("acme",), 0)
        assert instance.get_dynamic_partitions("tenant") == ["globex", "initech"]

    def test_a_registry_in_step_changes_nothing(self, instance: dg.DagsterInstance):
        sync(instance, ["acme"])

        changed = sync(instance, ["acme"])

        assert (changed.added, changed.removed, changed.left) == ((), (), 0)

    def test_one_call_removes_a_bounded_number_and_says_what_is_left(self, instance: dg.DagsterInstance):
        sync(instance, [f"t{n}" for n in range(10)])

        assert sync(instance, [], most_removals=4).left == 6
        assert sync(instance, [], most_removals=4).left == 2
        assert sync(instance, [], most_removals=4).left == 0
        assert instance.get_dynamic_partitions("tenant") == []

    def test_more_tenants_than_one_insert_carries_are_all_added(self, instance: dg.DagsterInstance):
        slugs = [f"t{n}" for n in range(5_001)]

        sync(instance, slugs)

        assert instance.get_dynamic_partitions("tenant") == slugs
