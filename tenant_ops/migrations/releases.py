"""Releases on disk: what leads from one version to the next, read, checked and summed up by checksums.

Here: the file format (`releases/README.md` explains it to people) and the graph of versions. Not here: which
way a tenant goes (`planning.py`), running SQL (`running.py`).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tenant_ops.migrations.lint import check_sql
from tenant_ops.migrations.versions import order
from tenant_ops.platform.errors import InputError

SHIPPED = Path(__file__).parent / "releases"
Reversible = Literal["full", "lossy", "none"]

STEP_NAME = re.compile(r"\d{3}_[a-z0-9_]{1,60}")
FILES = ("precheck", "resolve", "up", "verify", "down")
_KEYS = {
    "from": str,
    "description": str,
    "reversible": str,
    "breaking": bool,
    "mitigation": str,
    "lock_timeout_ms": int,
    "statement_timeout_s": int,
}


@dataclass(frozen=True)
class Step:
    """One change of a release.

    Attributes:
        name: Its folder, `010_track_mood`; steps run in this order, and backwards going down.
        description: What it does, for people.
        reversible: Whether going down keeps all data (`full`), loses some (`lossy`), or cannot be done.
        breaking: Whether code written for the version before stops working.
        mitigation: What to do about that.
        lock_timeout_ms: Longest wait for a lock, in milliseconds, before the step is tried again.
        statement_timeout_s: Longest statement, in seconds.
        sql: Content by file: `up`, `down`, and where there are, `precheck`, `resolve`, `verify`.
        checksum: SHA-256 over all its files.
    """

    name: str
    description: str
    reversible: Reversible
    breaking: bool
    mitigation: str
    lock_timeout_ms: int
    statement_timeout_s: int
    checksum: str
    sql: Mapping[str, str] = field(hash=False, repr=False)


@dataclass(frozen=True)
class Release:
    """What leads from version `starts_from` to `version`."""

    version: str
    starts_from: str
    steps: tuple[Step, ...]


def load_releases(folder: Path) -> tuple[Release, ...]:
    """Every release in the folder, lowest version first.

    Raises:
        InputError: a folder, file or key is not as it should be, SQL is not the same for every tenant, or two
            releases start from one version. The message names the file, and the line where there is one.
    """
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"]
    releases = tuple(sorted((_release(path) for path in found), key=lambda one: order(one.version)))
    starts: dict[str, str] = {}
    for release in releases:
        other = starts.setdefault(release.starts_from, release.version)
        if other != release.version:
            raise InputError(
                f"the releases {other} and {release.version} both start from {release.starts_from}.",
                where=str(folder),
                fix="Let one of them start from the other.",
            )
    return releases


def _release(folder: Path) -> Release:
    order(folder.name, where=str(folder))
    steps: list[Step] = []
    starts: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or not STEP_NAME.fullmatch(path.name):
            raise InputError(
                "a release holds folders named like 010_track_mood, and nothing else.", where=str(path)
            )
        about = _about(path)
        starts[about["from"]] = path.name
        steps.append(_step(path, about))
    if not steps:
        raise InputError("the release has no steps.", where=str(folder))
    if len(starts) > 1:
        raise InputError(
            f"its steps start from different versions: {', '.join(sorted(starts))}.", where=str(folder)
        )
    (start,) = starts
    if order(start, where=str(folder)) >= order(folder.name):
        raise InputError(f"it starts from {start}, which is not a lower version.", where=str(folder))
    return Release(folder.name, start, tuple(steps))


def _step(folder: Path, about: dict[str, Any]) -> Step:
    contents = _contents(folder)
    reversible = about.get("reversible", "full")
    where = str(folder / "migration.yaml")
    if reversible not in {"full", "lossy", "none"}:
        raise InputError(f"reversible is {reversible!r}.", where=where, fix="Use full, lossy or none.")
    if about.get("breaking") and not about.get("mitigation"):
        raise InputError("it is breaking and has no mitigation.", where=where, fix="Say what to do about it.")
    if "up" not in contents or ("down" not in contents and reversible != "none"):
        missing = "up.sql" if "up" not in contents else "down.sql"
        raise InputError(
            f"{missing} is missing.", where=str(folder), fix="A step without a way down is reversible: none."
        )
    if "resolve" in contents and "precheck" not in contents:
        raise InputError("resolve.sql is of no use without precheck.sql.", where=str(folder))
    return Step(
        name=folder.name,
        description=about.get("description", ""),
        reversible=reversible,
        breaking=about.get("breaking", False),
        mitigation=about.get("mitigation", ""),
        lock_timeout_ms=about.get("lock_timeout_ms", 2_000),
        statement_timeout_s=about.get("statement_timeout_s", 300),
        checksum=_checksum(folder),
        sql=contents,
    )


def _contents(folder: Path) -> dict[str, str]:
    contents: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name == "migration.yaml":
            continue
        if path.suffix != ".sql" or path.stem not in FILES:
            raise InputError(
                "this file has no meaning here.",
                where=str(path),
                fix=f"A step holds migration.yaml and {', '.join(f'{name}.sql' for name in FILES)}.",
            )
        contents[path.stem] = path.read_text(encoding="utf-8")
        check_sql(contents[path.stem], str(path))
    return contents


def _about(folder: Path) -> dict[str, Any]:
    path = folder / "migration.yaml"
    try:
        about = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("migration.yaml is missing.", where=str(folder)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"this is not YAML: {getattr(error, 'problem', error)}.", where=where) from error
    if not isinstance(about, dict) or "from" not in about:
        raise InputError(
            "it does not say which version it starts from.", where=str(path), fix='Write: from: "1.0.0"'
        )
    for key, value in about.items():
        if key not in _KEYS:
            raise InputError(
                f"{key!r} has no meaning here.", where=str(path), fix=f"Keys: {', '.join(_KEYS)}."
            )
        if not isinstance(value, _KEYS[key]) or (isinstance(value, bool) and _KEYS[key] is int):
            raise InputError(f"{key} is not of type {_KEYS[key].__name__}.", where=str(path))
    return about


def _checksum(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()
