"""Temporary files of a tenant: old ones below the folder `tmp` of its files.

Here: finding and removing them. Not here: any other file.

Folders are entered by descriptor and links never followed, so a link placed there at any moment leads
nowhere. Whatever is below `tmp` may be lost, so nothing is kept for undo.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tenant_ops.cleanup.policies import TEMPORARY_FOLDER
from tenant_ops.cleanup.records import CleanedItem, CleanupItem, Rule
from tenant_ops.tenants import Fleet, Tenant


def look_files(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanupItem]:
    """Count the files last written before the rule's cutoff."""
    return [_item([status for _, _, status in _old_files(fleet, tenant, rule)]) for rule in rules]


def remove_files(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanedItem]:
    """Remove them; folders stay."""
    removed = left = 0
    for rule in rules:
        for folder, name, _ in _old_files(fleet, tenant, rule):
            try:
                os.unlink(name, dir_fd=folder)
                removed += 1
            except FileNotFoundError:
                continue
            except OSError:
                left += 1
    return [CleanedItem("files", TEMPORARY_FOLDER, "files", removed + left, removed, left)] if rules else []


def _old_files(fleet: Fleet, tenant: Tenant, rule: Rule) -> Iterator[tuple[int, str, os.stat_result]]:
    """Descriptor of its folder, name and status of every old file, while the folder is open."""
    oldest_kept, top = rule.cutoff.timestamp(), fleet.files(tenant) / TEMPORARY_FOLDER
    if top.is_symlink() or not top.is_dir():
        return
    for _, _, names, folder in os.fwalk(top, follow_symlinks=False):
        for name in names:
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_mtime < oldest_kept:
                yield folder, name, status


def _item(found: list[os.stat_result]) -> CleanupItem:
    moments = [datetime.fromtimestamp(status.st_mtime, UTC) for status in found]
    return CleanupItem(
        "files",
        TEMPORARY_FOLDER,
        "files",
        len(found),
        sum(status.st_size for status in found),
        min(moments, default=None),
        max(moments, default=None),
    )
