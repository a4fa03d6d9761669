"""What a detector is: a form, a check of what has that form, and how many of them make a column suspicious.

Here: the value and its search. Not here: the detectors (`personal.py`, `secrets.py`).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["personal", "secret"]
LONGEST = 4_000
"""Characters of a value that are searched; what a sample hands over is cut there as well."""


@dataclass(frozen=True)
class Detector:
    """One kind of thing a value may hold.

    Attributes:
        name: Stable, in findings: `iban`.
        label: In sentences, in the plural: `IBANs`.
        kind: Whether it is about a person or lets somebody in.
        pattern: The form; every match is checked.
        check: Whether what has the form is one: its checksum, its ranges.
        share: A column is reported when at least this share of its values has one, by the lower end of the
            95 % Wilson interval of the sample; 0: when one value has.
        whole: Whether the whole value must be one: its form alone is too common to look for in texts.
        clues: The value is searched only when it has one of these; without any, always.
    """

    name: str
    label: str
    kind: Kind
    pattern: re.Pattern[str]
    check: Callable[[str], bool]
    share: float
    whole: bool = False
    clues: tuple[str, ...] = ()

    def found_in(self, text: str) -> bool:
        """Whether the text has one, in its first 4,000 characters."""
        if self.clues and not any(clue in text for clue in self.clues):
            return False
        if self.whole:
            match = self.pattern.fullmatch(text.strip())
            return match is not None and self.check(match.group())
        return any(self.check(match.group()) for match in self.pattern.finditer(text[:LONGEST]))


def form_suffices(_text: str) -> bool:
    """The check of what has no checksum and no ranges."""
    return True


def leaves(document: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The texts and numbers of a JSON document, each with where it stands: `mail.server`, `keys[0]`."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from leaves(value, f"{path}.{name}" if path else str(name))
    elif isinstance(document, list):
        for place, value in enumerate(document):
            yield from leaves(value, f"{path}[{place}]")
    elif isinstance(document, str | int | float) and not isinstance(document, bool):
        yield path, str(document)
