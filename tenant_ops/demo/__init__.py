"""Scenarios: the project used as a user would, with the outcome proved.

`scenarios.py` has one function per scenario; each yields what it did, step by step.
"""

from tenant_ops.demo.scenarios import SCENARIOS, Step, scenario

__all__ = ["SCENARIOS", "Step", "scenario"]
