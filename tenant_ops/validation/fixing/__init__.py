"""Fixing what rules found: planned, in a transaction, never for the worse, and undone by id.

Start at `planning.py` (from findings to steps) and `applying.py` (the transaction). Each kind of change is a
module: `writing.py` (a column of the bad rows), `duplicates.py`, `orphans.py`, `structure.py` (constraints,
indexes, defaults), `rights.py`, `upkeep.py` (statistics, indexes, sequences). `images.py` keeps rows as they
were, `undoing.py` brings them back, `worsening.py` re-validates. How far each is trusted: `docs/fixes.md`.
"""

from tenant_ops.validation.fixing.applying import execute_fixes
from tenant_ops.validation.fixing.planning import find_fixes, plan_fixes
from tenant_ops.validation.fixing.undoing import list_fixes, undo_fixes

__all__ = ["execute_fixes", "find_fixes", "list_fixes", "plan_fixes", "undo_fixes"]
