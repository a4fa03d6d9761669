"""Detectors: personal data and secrets known by their form, and by their checksum where they have one.

`detector.py` says what a detector is and searches values, `personal.py` and `secrets.py` hold them,
`columns.py` decides about a column from a sample of its values.
"""

from tenant_ops.validation.detectors.columns import Verdict, judge, wilson_lower
from tenant_ops.validation.detectors.detector import Detector, Kind, leaves
from tenant_ops.validation.detectors.personal import PERSONAL
from tenant_ops.validation.detectors.secrets import SECRETS
from tenant_ops.validation.detectors.telling import kinds_in, secrets_in_document

__all__ = [
    "PERSONAL",
    "SECRETS",
    "Detector",
    "Kind",
    "Verdict",
    "judge",
    "kinds_in",
    "leaves",
    "secrets_in_document",
    "wilson_lower",
]
