"""Personal data and secrets made safe to show, in a form that still helps to find a fault.

Here: masks by privacy class (`mask`), and free text searched for secrets and personal data (`mask_text`).
Not here: which columns hold what (`datasets/`), where logs go (`logs.py`), masking data at rest.

The same value always gives the same mask. A mask is for people to read, not to join by: different values may
share one. Every pattern takes time proportional to the text, however it was made.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, ip_interface
from typing import Any

HIDDEN = "***"

_TELLING_WORDS = (
    r"passw(?:or)?d|passphrase|pwd|secret|credential|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|encryption[_-]?key|signing[_-]?key|backup[_-]?key|master[_-]?key|token(?!s|_count|iz)|cookie"
)
_SECRET_NAME = re.compile(rf"(?i){_TELLING_WORDS}|authorization")
_PRIVATE_NAMES = (
    (re.compile(r"(?i)e_?mail"), "email"),
    (re.compile(r"(?i)phone|mobile"), "phone"),
    (re.compile(r"(?i)^ip$|_ip$|ip_?addr|client_addr"), "ip"),
    (re.compile(r"(?i)^(?:display|first|last|full|real)_?name$"), "name"),
)


def mask(value: object, privacy: str) -> str | None:
    """The value as its privacy class may be shown: `a***@e***.com`, `K*** S***`, `203.0.113.x`, `***`.

    Args:
        value: Any value; None, which says nothing about anyone, stays None.
        privacy: `name`, `email`, `phone`, `ip`, `free_text` or `secret`; any other is taken for a secret.
    """
    return None if value is None else _MASKS.get(privacy, _mask_secret)(str(value))


def mask_named(name: str, value: object) -> object:
    """A value under a telling name (`password`, `admin_email`, `client_ip`) masked; any other as it is."""
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    if not isinstance(value, str):
        return value
    return next((mask(value, privacy) for pattern, privacy in _PRIVATE_NAMES if pattern.search(name)), value)


def mask_text(text: str) -> str:
    """The text with the passwords, tokens, keys, e-mail and IP addresses and phone numbers in it masked.

    Finds what looks like one: passwords in URLs, in `password=...` and in SQL, bearer tokens, keys of known
    shapes, PEM blocks. A secret that looks like a word is not found; do not log it.
    """
    for signs, pattern, replacement in _TEXT_RULES:
        if not signs or any(sign in text for sign in signs):
            text = pattern.sub(replacement, text)
    return text


def _mask_name(text: str) -> str:
    return " ".join(f"{word[0]}{HIDDEN}" for word in text.split()[:4]) or HIDDEN


def _mask_email(text: str) -> str:
    local, at, domain = text.rpartition("@")
    first, dot, last = domain.rpartition(".")
    if not (at and local and dot and first and last.isalpha()):
        return HIDDEN
    return f"{local[0]}{HIDDEN}@{first[0]}{HIDDEN}.{last}"


def _mask_phone(text: str) -> str:
    digits = [character for character in text if character.isdigit()]
    return f"{HIDDEN}{''.join(digits[-2:])}" if len(digits) > 4 else HIDDEN


def _mask_ip(text: str) -> str:
    try:
        address = ip_interface(text.strip()).ip
    except ValueError:
        return HIDDEN
    if address.is_loopback or address.is_unspecified:
        return str(address)
    if isinstance(address, IPv4Address):
        return f"{str(address).rpartition('.')[0]}.x"
    return f"{':'.join(group.lstrip('0') or '0' for group in address.exploded.split(':')[:3])}:x"


def _mask_free_text(text: str) -> str:
    return f"{HIDDEN} ({len(text)} characters)"


def _mask_secret(_: str) -> str:
    return HIDDEN


_MASKS: Mapping[str, Callable[[str], str]] = {
    "name": _mask_name,
    "email": _mask_email,
    "phone": _mask_phone,
    "ip": _mask_ip,
    "free_text": _mask_free_text,
    "secret": _mask_secret,
}


def _masked_ip(match: re.Match[str]) -> str:
    """Dotted and coloned words that are no address (versions, times) stay as they are."""
    address = match[0]
    while (masked := _mask_ip(address)) == HIDDEN and address.endswith(":"):
        address = address[:-1]
    return match[0] if masked == HIDDEN else masked + match[0][len(address) :]


_Rule = tuple[tuple[str, ...], re.Pattern[str], str | Callable[[re.Match[str]], Any]]

# Each rule: texts one of which must occur (a cheap first look; none means any text), what to find, and what
# to write. Repetitions are bounded, possessive, or sure to end in a match, so no stretch is read often.
_TEXT_RULES: tuple[_Rule, ...] = (
    (
        ("PRIVATE KEY",),
        re.compile(r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)"),
        f"-----PRIVATE KEY {HIDDEN}-----",
    ),
    (  # postgresql://user:password@host; `host:5432/path` is no password
        ("://",),
        re.compile(r"(://[^\s/:@]{0,128}:)(?!\d{1,5}(?:[/\s?#,;)\"']|$))[^\s]{1,256}(?=@)"),
        rf"\g<1>{HIDDEN}",
    ),
    (("://",), re.compile(r"(://)[^\s/:@]{16,256}(?=@)"), rf"\g<1>{HIDDEN}"),
    (
        ("hooks.slack.com",),
        re.compile(r"(hooks\.slack\.com/)[A-Za-z0-9/_-]++"),
        rf"\g<1>{HIDDEN}",
    ),
    (
        (),
        re.compile(r"(?i)\b(bearer|basic)(\s{1,3})[A-Za-z0-9._~+/=-]{8,}+"),
        rf"\g<1>\g<2>{HIDDEN}",
    ),
    (
        (),
        re.compile(
            rf"(?i)((?:{_TELLING_WORDS})[\w-]{{0,20}}[\"']?(?:\s{{0,3}}(?:=>|[=:])\s{{0,3}}|\s{{1,3}}(?=')))"
            r"(?:\"[^\"]*+\"?|'[^']*+'?|[^\s,;&\"'}\])]++)"
        ),
        rf"\g<1>{HIDDEN}",
    ),
    (
        (),
        re.compile(
            r"(?<![\w-])(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{20,}+|github_pat_\w{20,}+|xox[a-z]-[\w-]{10,}+"
            r"|sk-[\w-]{16,}+|eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?|SCRAM-SHA-256\$[^\s'\"]++)"
        ),
        HIDDEN,
    ),
    (
        ("@",),
        re.compile(r"(?<![\w.%+-])[\w.%+-]++@[\w-]++(?:\.[\w-]++)++"),
        lambda match: _mask_email(match[0]),
    ),
    (
        (".",),
        re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"),
        _masked_ip,
    ),
    (
        (":",),
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4})?(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"),
        _masked_ip,
    ),
    (("+",), re.compile(r"(?<![\w+])\+\d[\d ().-]{6,20}\d(?!\d)"), lambda match: _mask_phone(match[0])),
)
