"""The small language of `Column.sample`: a recipe's name, its arguments, its options.

`"between user_id.created_at end null=status:draft"` is the recipe `between` with two arguments and an option.
Options every recipe understands: `null=0.2` (that share of the rows is empty), `null=status:draft` (empty
where `status` is `draft`) and `scale=6` (decimals of a number). Not here: what recipes do (`recipes.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tenant_ops.datasets.definition import Column

COMMON_OPTIONS = frozenset({"null", "scale"})


@dataclass(frozen=True)
class Sample:
    """A parsed `Column.sample`.

    Attributes:
        recipe: Name of the recipe.
        arguments: Its arguments in order.
        options: Its own options, without the common ones.
        null: The `null` option; empty when not given.
    """

    recipe: str
    arguments: tuple[str, ...]
    options: Mapping[str, str]
    null: str


def parse(column: Column) -> Sample | None:
    """The column's recipe, or None when it has none."""
    if not column.sample:
        return None
    words = [word for word in column.sample.split() if "=" not in word]
    options = dict(word.split("=", 1) for word in column.sample.split() if "=" in word)
    null = options.get("null", "")
    own = {name: value for name, value in options.items() if name not in COMMON_OPTIONS}
    return Sample(words[0] if words else "", tuple(words[1:]), own, null)
