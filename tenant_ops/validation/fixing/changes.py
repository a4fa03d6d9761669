"""What a change is: it can say beforehand what it would do, and do it.

Here: the model, and the shape in which texts are shown. Not here: the changes (the modules beside this one).
"""

import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing.images import Keeper

SAMPLES = 3
LONGEST_SHAPE = 40
_SIGNS = {"Lu": "A", "Lt": "A", "Ll": "a", "Lo": "x", "Lm": "x", "Nd": "9", "Nl": "9", "No": "9"}


@dataclass(frozen=True)
class Foreseen:
    """What a change would do.

    Attributes:
        change: In words.
        rows: Rows of its own table that would change; 0 for upkeep.
        touches: Rows of further tables.
        sample: Some of the rows by key, with the shape of what is there and of what would be.
        undoable: Whether it can be taken back.
        ends_chain: Whether the next incremental backup starts a new chain, as after every change of tables.
        refusal: Why it cannot be done; empty when it can.
    """

    change: str
    rows: int = 0
    touches: tuple[tuple[str, int], ...] = ()
    sample: tuple[str, ...] = ()
    undoable: bool = True
    ends_chain: bool = False
    refusal: str = ""


class Change(ABC):
    """One change of a tenant."""

    @abstractmethod
    def foresee(self, evidence: Evidence) -> Foreseen:
        """Look at what it would do, changing nothing."""

    def lock(self, evidence: Evidence) -> int | None:  # noqa: B027 - most lock nothing
        """Lock the rows it would change, before any step is done; how many. None: there are none to count."""

    @abstractmethod
    def apply(self, evidence: Evidence, keeper: Keeper) -> int:
        """Do it in the caller's savepoint; how many rows were written.

        Raises:
            Refused: it cannot be done.
        """


def shape(value: str | None) -> str:
    """What a text looks like, without what it says: `Ada L. ` is `Aaa_A._` (7)."""
    if value is None:
        return "nothing"
    drawn = "".join(map(_sign, value[:LONGEST_SHAPE])) + ("..." if len(value) > LONGEST_SHAPE else "")
    return f"{drawn} ({len(value)})"


def _sign(character: str) -> str:
    category = unicodedata.category(character)
    known = {
        "Lu": "A",
        "Lt": "A",
        "Ll": "a",
        "Lo": "x",
        "Lm": "x",
        "Zs": "_",
        "Nd": "9",
        "Nl": "9",
        "No": "9",
    }
    if category in known:
        return known[category]
    if character == " ":
        return "_"
    if category.startswith(("M", "C", "Z")):
        return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(character, f"<{ord(character):04X}>")
    return character
