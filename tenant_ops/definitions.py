"""The code location Dagster loads: `dagster dev`, `dagster job execute -m tenant_ops.definitions`.

For datasets of your own, write a module like this one: `defs = build_defs(MY_CATALOG)`.
"""

from tenant_ops.orchestration.location import build_defs

defs = build_defs()
