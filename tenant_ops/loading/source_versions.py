"""Which version of the datasets a source was written for.

Here: finding out. Not here: what releases changed (`datasets/upcasts.py`).
"""

import re
from pathlib import Path

import orjson

from tenant_ops.datasets import Catalog
from tenant_ops.datasets.upcasts import order_of
from tenant_ops.platform.errors import InputError

MANIFEST = "manifest.json"


def version_of_source(catalog: Catalog, source: Path, *, given: str | None, shipped: bool) -> str:
    """The version a source was written for.

    Args:
        catalog: What it is loaded into; without upcasts every source is of its version.
        source: A folder, or something else.
        given: What the operator says, which is believed.
        shipped: Whether it is a folder of the shipped fixtures, which are in a folder named by their version.

    Returns:
        What was given, the shipped folder's version, `version` in a `manifest.json` in the folder, or else
        the catalog's own.

    Raises:
        InputError: it is no version, or a later one than the catalog's.
    """
    if given:
        return _checked(given, catalog, "source version")
    if not catalog.upcasts:
        return catalog.version
    if shipped:
        return source.parent.name
    manifest = source / MANIFEST
    if not manifest.is_file():
        return catalog.version
    try:
        document = orjson.loads(manifest.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(f"it is not JSON: {error}.", where=str(manifest)) from error
    version = document.get("version") if isinstance(document, dict) else None
    return catalog.version if version is None else _checked(version, catalog, str(manifest))


def _checked(version: object, catalog: Catalog, where: str) -> str:
    if not isinstance(version, str) or not re.fullmatch(r"\d{1,9}(\.\d{1,9})*", version, re.ASCII):
        raise InputError(f"{version!r} is not a version.", where=where, fix="Write it as 1.2.0.")
    if order_of(version) > order_of(catalog.version):
        raise InputError(
            f"{version} is later than the datasets, which are at {catalog.version}.",
            where=where,
            fix="Load it with the release that has this version.",
        )
    return version
