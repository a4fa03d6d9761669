"""URLs that are written down: finding the secrets in them.

Here: what of a URL nobody should see. Not here: secrets in free text (`masking.py`), what a URL leads to.
"""

import re
from urllib.parse import parse_qsl, quote, quote_plus, unquote

# Up to the first @ as SQLAlchemy reads a URL, and up to the last before a slash as a browser does.
_PASSWORDS = (re.compile(r"://[^:/@]*:([^@/]*)@"), re.compile(r"://[^:/@]*:([^/]*)@"))
_SECRET = re.compile(r"passw|pwd|secret|token|signature|credential|^sig$|api_?key|access_?key", re.IGNORECASE)


def secrets_in(url: str) -> list[str]:
    """Everything in a URL that should not be seen, longest first."""
    found = {secret for pattern in _PASSWORDS for secret in pattern.findall(url)}
    found |= {value for name, value in parse_qsl(url.partition("?")[2]) if _SECRET.search(name)}
    return sorted(found - {""}, key=len, reverse=True)


def hide_secrets(url: str, text: str) -> str:
    """The text without the secrets of the URL, however they are spelled in it."""
    for secret in secrets_in(url):
        plain = unquote(secret)
        for spelling in {secret, plain, quote(plain, safe=""), quote_plus(plain)}:
            text = text.replace(spelling, "***")
    return text
