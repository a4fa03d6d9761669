"""What would be lost and how long it would take: measured by restoring for real, compared with targets.

`recovery.py` reports on all tenants, `chain_check.py` looks whether a chain is whole, `planning.py` chooses
whose restore is tried next, `executing.py` tries it, `recording.py` keeps what it came to. Targets are the
tiers' (`tenants/tiers.py`). How to use it: `docs/backups.md`.
"""

from tenant_ops.backups.drills.chain_check import ChainCheck, check_chain
from tenant_ops.backups.drills.executing import execute_drill, sweep
from tenant_ops.backups.drills.planning import plan_drill
from tenant_ops.backups.drills.recovery import rpo_report
from tenant_ops.backups.drills.reports import (
    Aim,
    Breach,
    Drill,
    DrillPlan,
    DrillReport,
    DrillTarget,
    Recovery,
    RpoReport,
)

__all__ = [
    "Aim",
    "Breach",
    "ChainCheck",
    "Drill",
    "DrillPlan",
    "DrillReport",
    "DrillTarget",
    "Recovery",
    "RpoReport",
    "check_chain",
    "execute_drill",
    "plan_drill",
    "rpo_report",
    "sweep",
]
