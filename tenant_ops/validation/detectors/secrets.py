"""Detectors of what lets somebody in: keys, tokens, passwords in URLs.

Here: secrets of known issuers by the form they publish, decoded where they can be. One of them is one too
many, so a single value makes a column suspicious. Not here: secrets that look like a word; where a document
names them (`"password": ...`), `telling.py` knows them by their name.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable

from tenant_ops.validation.detectors.detector import Detector, form_suffices

_PLACEHOLDER = re.compile(
    r"(?i)^(?:\*+|x+|\.+|<.*>|\$?\{.*\}|%.*%|\$[A-Z_]+|password|passwd|pass|pwd|secret)$"
)


def _is_jwt(text: str) -> bool:
    header = text.partition(".")[0]
    try:
        decoded = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(decoded, dict) and "alg" in decoded


def _is_storage_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.partition("=")[2], validate=True)) == 64
    except (ValueError, binascii.Error):
        return False


def _has_password(text: str) -> bool:
    password = text.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return bool(password) and not _PLACEHOLDER.match(password)


def _mixed(text: str) -> bool:
    """Whether it was drawn at random: a name spelled like a token has no digits, or few letters."""
    return len(set(text)) >= 10 and any(one.isdigit() for one in text)


def _secret(name: str, label: str, pattern: str, check: Callable[[str], bool], *clues: str) -> Detector:
    return Detector(name, label, "secret", re.compile(pattern), check, 0.0, clues=clues)


SECRETS: tuple[Detector, ...] = (
    _secret(
        "jwt",
        "JSON web tokens",
        r"(?<![\w-])eyJ[\w-]{8,1000}\.[\w-]{8,2000}\.[\w-]{0,1000}",
        _is_jwt,
        "eyJ",
    ),
    _secret(
        "aws_key", "AWS access keys", r"(?<!\w)(?:AKIA|ASIA)[A-Z2-7]{16}(?!\w)", form_suffices, "AKIA", "ASIA"
    ),
    _secret(
        "gcp_account",
        "Google service account keys",
        r'"type"\s*:\s*"service_account"',
        form_suffices,
        "service_account",
    ),
    _secret("gcp_key", "Google API keys", r"(?<![\w-])AIza[\w-]{35}(?![\w-])", _mixed, "AIza"),
    _secret(
        "azure_key",
        "Azure storage keys",
        r"AccountKey=[A-Za-z0-9+/]{86}==",
        _is_storage_key,
        "AccountKey=",
    ),
    _secret(
        "github_token",
        "GitHub tokens",
        r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})(?!\w)",
        _mixed,
        "gh",
        "github_pat_",
    ),
    _secret(
        "slack_token",
        "Slack tokens",
        r"(?<!\w)xox[abeoprs]-[A-Za-z0-9-]{20,250}|hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}",
        _mixed,
        "xox",
        "hooks.slack.com",
    ),
    _secret(
        "stripe_key",
        "Stripe keys",
        r"(?<!\w)(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,250}(?!\w)",
        _mixed,
        "k_live_",
        "k_test_",
    ),
    _secret(
        "private_key",
        "private keys",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
        form_suffices,
        "PRIVATE KEY",
    ),
    _secret(
        "url_password",
        "passwords in URLs",
        r"(?i)(?<![a-z0-9])[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:[^\s/@]{1,200}@",
        _has_password,
        "://",
    ),
)
