"""Keeping profiles in the control plane: one a day, two months of them.

Not here: what is in them (`values.py`).
"""

from datetime import timedelta

from psycopg.types.json import Jsonb

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.profiles.values import DatasetProfile, Profile

EVERY = timedelta(hours=20)
"""Validating all day long says no more about what is usual; 20 hours leave a daily run room to be early."""
KEEP = 60
LOOK_BACK = 30
"""Profiles compared with: longer ago, a growing tenant was another one."""


def read_profiles(fleet: Fleet, tenant: Tenant) -> tuple[Profile, ...]:
    """The tenant's last profiles, the oldest first."""
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            """
            SELECT taken_at, datasets FROM tenant_ops.data_profile
            WHERE tenant_id = %s ORDER BY taken_at DESC LIMIT %s
            """,
            (tenant.id, LOOK_BACK),
        ).fetchall()
    return tuple(
        Profile(at, {name: DatasetProfile.of(one) for name, one in datasets.items()})
        for at, datasets in reversed(rows)
    )


def keep_profile(fleet: Fleet, tenant: Tenant, profile: Profile) -> None:
    """Keep the profile unless the last one is too young, and no more than the last `KEEP`."""
    datasets = Jsonb({name: one.document() for name, one in profile.datasets.items()})
    with fleet.control.transaction() as connection:
        connection.execute(
            """
            INSERT INTO tenant_ops.data_profile (tenant_id, taken_at, datasets)
            SELECT %(tenant)s, %(at)s, %(datasets)s
            WHERE NOT EXISTS (
                SELECT FROM tenant_ops.data_profile WHERE tenant_id = %(tenant)s AND taken_at > %(young)s
            )
            ON CONFLICT DO NOTHING
            """,
            {"tenant": tenant.id, "at": profile.at, "datasets": datasets, "young": profile.at - EVERY},
        )
        connection.execute(
            """
            DELETE FROM tenant_ops.data_profile WHERE tenant_id = %(tenant)s AND taken_at <= (
                SELECT taken_at FROM tenant_ops.data_profile
                WHERE tenant_id = %(tenant)s ORDER BY taken_at DESC OFFSET %(keep)s LIMIT 1
            )
            """,
            {"tenant": tenant.id, "keep": KEEP},
        )
