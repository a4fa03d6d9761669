"""Searching one value or one document with every detector that fits.

Here: texts and JSON. Not here: deciding about a column (`columns.py`).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tenant_ops.platform.masking import HIDDEN, mask_named
from tenant_ops.validation.detectors.detector import Detector, leaves
from tenant_ops.validation.detectors.secrets import SECRETS

# Whatever a detector finds has an @, a run of seven digits or groups of them, a scheme, or a token's prefix.
# Most values have none, and cost one search instead of thirty.
_CLUE = re.compile(
    r"@|://|-----B|eyJ|AIza|A[KS]IA|AccountKey|service_account|xox|hooks\.slack|gh[pousr]_|github_pat_"
    r"|k_(?:live|test)_|\d(?:[ ./()-]{0,2}\d){6}|\d\.\d{1,3}\.\d|:[0-9a-fA-F]{0,4}:|[A-Z]{2}\d{2}"
    r"|[A-Z]{2} ?\d|[A-Z]{6}|[XYZ]-?\d"
)


def kinds_in(text: str, detectors: Iterable[Detector]) -> set[str]:
    """Names of the detectors that find something in the text."""
    if not _CLUE.search(text):
        return set()
    return {one.name for one in detectors if one.found_in(text)}


def secrets_in_document(document: Any) -> Iterator[tuple[str, str]]:
    """Where in a JSON document a secret stands, and what it seems to be; never the secret.

    Beside what the detectors find: any text under a telling name (`password`, `api_key`).
    """
    for path, text in leaves(document):
        found = [one.label for one in SECRETS if one.found_in(text)]
        if found:
            yield path, found[0]
        elif text and not text.startswith("env:") and mask_named(_last(path), text) == HIDDEN:
            yield path, "a value under a name for secrets"


def _last(path: str) -> str:
    return path.rpartition(".")[2]
