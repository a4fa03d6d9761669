"""Restoring a backup, to its own moment or one between backups, over a tenant, beside it or into it.

`planning.py` looks, with `moments.py` for which backups lead to a moment and `requirements.py` for what
stands in the way; `executing.py` does it: `login.py` opens sessions that can do no more than the tenant,
`loading.py` loads beside with `tasks.py`, `swapping.py` exchanges, `merging.py` brings rows into live tables
with `differences.py` and `merged_files.py`; `undoing.py` takes a restore back.

This file imports nothing: taking a backup finishes an interrupted restore, and restoring takes a backup.
"""
