"""Orchestration: the one package that imports Dagster.

`assets/` is the graph, `jobs.py`, `ops.py`, `schedules.py` and `sensors.py` what runs, `batch.py` how a run
works through many tenants, `location.py` puts it together, `launch.py` runs a job from elsewhere.
"""

import warnings

import dagster as dg

# Asset checks per partition and backfill policies are marked preview and beta in Dagster 1.13; what the
# project relies on of them is pinned by its tests. Set before any module here makes a definition.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)
