"""`--select 'datasets/*'`: every asset below a prefix, as anybody would write it.

Here: one addition to Dagster's selection syntax. Not here: which assets there are.

Dagster 1.13 writes it `key:"datasets/*"`, and reads `datasets/*` by its older syntax as everything downstream
of an asset named `datasets/`, which cannot exist: a key has no empty part. So nothing that worked before can
mean something else now.
"""

import re

import dagster as dg

_BELOW_PREFIX = re.compile(r"(\w+/)+\*")


def accept_prefixes() -> None:
    """From now on, in this process, `prefix/*` selects the assets below the prefix."""
    original = dg.AssetSelection.from_string.__func__
    if getattr(original, "accepts_prefixes", False):
        return

    def from_string(
        cls: type[dg.AssetSelection], string: str, include_sources: bool = False
    ) -> dg.AssetSelection:
        below = _BELOW_PREFIX.fullmatch(string.strip())
        return original(cls, f'key:"{string.strip()}"' if below else string, include_sources)

    from_string.accepts_prefixes = True  # pyright: ignore[reportFunctionMemberAccess]
    dg.AssetSelection.from_string = classmethod(from_string)  # pyright: ignore[reportAttributeAccessIssue]
