"""One tenant is one partition: the definition every per-tenant asset shares, and its mirror of the registry.

Here: `TENANTS`, what happens when a tenant is named that Dagster does not know, and the two-way
comparison of registry and partitions. Not here: who is in the registry (`tenants/`), how a run works
through its tenants (`batch.py`), the sensor that calls `sync` (`sensors.py`).
https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
import dagster as dg

from tenant_ops.platform.errors import TenantOpsError, UnknownTenant
from tenant_ops.tenants import unknown_tenant

# One INSERT carries every key of a call; 5,000 keeps it near 200 KB (100,000 keys: 4.1 s in such chunks).
ADD_CHUNK = 5_000
# Dagster deletes partitions one statement each (about 11 ms); 500 keep a sensor tick under 6 s.
MOST_REMOVALS = 500

# Postgres cannot index a run tag of more than about 2,450 incompressible characters.
MOST_IN_A_KEY, LONGEST_KEY = 100, 2_400

NAME = "tenant"
KnownSlugs = Callable[[list[str]], set[str]]


class UnknownTenantPartition(UnknownTenant, click.ClickException):
    """The named tenant is in no registry; Dagster's own commands print it as a sentence (exit code 2)."""

    exit_code = 2

    def __init__(self, problem: str, *, fix: str) -> None:
        click.ClickException.__init__(self, f"{problem} {fix}")
        self.problem, self.fix, self.where = problem, fix, ""


class TenantPartitions(dg.DynamicPartitionsDefinition):
    """The partitions of every per-tenant asset: one per tenant, keyed by its slug.

    Where Dagster takes one partition key it may name several tenants, `acme,globex`: one run then works on
    exactly these, which need not be neighbours as in a range (a slug has no comma). `partition_keys`
    makes them.

    A tenant that is in the registry but not yet among the partitions of this Dagster instance is added
    the first time it is named, so a new instance works before any sensor has run.
    """

    # Asks the registry which of these slugs exist; the code location sets it (`definitions.py`).
    known_slugs: KnownSlugs = staticmethod(lambda slugs: set())  # noqa: ARG005

    def __new__(cls) -> "TenantPartitions":
        """The one set of partitions, under the name the instance stores it by."""
        return super().__new__(cls, name=NAME)

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> bool:
        """Whether every tenant named is a partition here, after adding those only the registry has."""
        with dg.partition_loading_context(current_time, dynamic_partitions_store) as loading:
            tenants = named(partition_key)
            return bool(tenants) and not self._unknown(tenants, loading.dynamic_partitions_store)

    def validate_partition_key(self, partition_key: str, context: Any) -> None:
        """Pass silently when every tenant named exists.

        Raises:
            UnknownTenantPartition: neither the partitions nor the registry have one of them.
        """
        with dg.partition_loading_context(new_ctx=context) as loading:
            self.require(loading.dynamic_partitions_store, named(partition_key))

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """The tenants of a range, in the order they were registered; or those one key names."""
        with dg.partition_loading_context() as loading:
            first, last = partition_key_range.start, partition_key_range.end
            if first == last:
                self.require(loading.dynamic_partitions_store, named(first))
                return named(first)
            return self.between(loading.dynamic_partitions_store, first, last)

    def subset_with_partition_keys(self, partition_keys: Iterable[str]) -> Any:
        """The set of these tenants, which Dagster plans and shows one by one."""
        return super().subset_with_partition_keys(
            tenant for partition_key in partition_keys for tenant in named(partition_key)
        )

    def require(self, instance: Any, tenants: Sequence[str]) -> None:
        """Make sure every one of `tenants` is a partition of `instance`, adding those only the registry has.

        Raises:
            UnknownTenantPartition: naming the first tenant that does not exist.
        """
        for tenant in self._unknown(tenants, instance):
            error = unknown_tenant(tenant, instance.get_dynamic_partitions(NAME))
            raise UnknownTenantPartition(error.problem, fix=error.fix)

    def between(self, instance: Any, first: str, last: str) -> list[str]:
        """The tenants from `first` to `last` in the order they were registered.

        Raises:
            UnknownTenantPartition: an end of the range does not exist.
        """
        self.require(instance, [first, last])
        tenants = list(instance.get_dynamic_partitions(NAME))
        start, end = sorted((tenants.index(first), tenants.index(last)))
        return tenants[start : end + 1]

    def _unknown(self, tenants: Sequence[str], instance: Any) -> list[str]:
        missing = _without(tenants, instance.get_existing_dynamic_partitions(NAME, list(tenants)))
        if not missing:
            return []
        try:
            registered = self.known_slugs(missing)
        except TenantOpsError as error:
            raise click.ClickException(str(error)) from error
        can_add = hasattr(instance, "add_dynamic_partitions")  # a read-only view of an instance cannot
        adopted = [slug for slug in missing if can_add and slug in registered]
        if adopted:
            instance.add_dynamic_partitions(NAME, adopted)
        return _without(missing, adopted)


TENANTS = TenantPartitions()


def named(partition_key: str) -> list[str]:
    """The tenants a partition key names, each once: `acme,globex` is two."""
    return list(dict.fromkeys(part.strip() for part in partition_key.split(",") if part.strip()))


def partition_keys(tenants: Iterable[str]) -> list[str]:
    """As few partition keys as can name all of `tenants`, in their order: one run for each.

    A run works on at most 100 tenants, and on no more than its run tag can name.
    """
    keys: list[str] = []
    count = 0
    for tenant in dict.fromkeys(tenants):
        if keys and count < MOST_IN_A_KEY and len(keys[-1]) + len(tenant) < LONGEST_KEY:
            keys[-1] += f",{tenant}"
            count += 1
        else:
            keys.append(tenant)
            count = 1
    return keys


@dataclass(frozen=True)
class Synced:
    """What one comparison of registry and partitions changed.

    Attributes:
        added: Tenants that became partitions.
        removed: Partitions whose tenant is gone.
        left: Partitions still to remove; the next call goes on with them.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: int = 0


def sync(instance: dg.DagsterInstance, slugs: Iterable[str], *, most_removals: int = MOST_REMOVALS) -> Synced:
    """Make the partitions of `instance` the tenants named by `slugs`, in their order.

    The registry is the truth: partitions it no longer has are removed, at most `most_removals` in one
    call. Their history stays in the event log; Dagster cannot erase it.
    """
    wanted = list(dict.fromkeys(slugs))
    present = instance.get_dynamic_partitions(NAME)
    added = _without(wanted, present)
    for start in range(0, len(added), ADD_CHUNK):
        instance.add_dynamic_partitions(NAME, added[start : start + ADD_CHUNK])
    gone = _without(present, wanted)
    for slug in gone[:most_removals]:
        instance.delete_dynamic_partition(NAME, slug)
    return Synced(tuple(added), tuple(gone[:most_removals]), len(gone[most_removals:]))


def _without(slugs: Iterable[str], others: Iterable[str]) -> list[str]:
    excluded = set(others)
    return [slug for slug in slugs if slug not in excluded]
