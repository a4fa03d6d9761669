"""Detectors of personal data.

Here: addresses, numbers and national ids. Checksums of IBANs and national ids are python-stdnum's, which
follows their issuers' specifications; each is tried only on what has the form. Not here: names of people,
which have no form.

The shares follow from how often other data passes by chance. A random 16-digit number is a card's with
probability 0.02 (issuer prefix and one check digit), an 11-digit one a national id's with about 0.1: such
detectors ask for a share well above it. A checksum of two digits, an @ or a + hardly comes by chance.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address

from stdnum import iban, luhn
from stdnum.be import nn
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.us import ssn

from tenant_ops.validation.detectors.detector import Detector, form_suffices

# Issuer, first digits (from, to) and lengths, after ISO/IEC 7812 and the networks' published ranges.
_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (16, 19)),  # Visa; its 13-digit numbers are out of use
    (51, 55, (16,)),  # Mastercard
    (2221, 2720, (16,)),
    (34, 34, (15,)),  # American Express
    (37, 37, (15,)),
    (6011, 6011, (16, 17, 18, 19)),  # Discover
    (644, 659, (16, 17, 18, 19)),
    (3528, 3589, (16, 17, 18, 19)),  # JCB
    (300, 305, (14, 16, 19)),  # Diners Club
    (36, 36, (14, 16, 19)),
    (38, 39, (14, 16, 19)),
    (62, 62, (16, 17, 18, 19)),  # UnionPay
)


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    if len(set(digits)) < 2:
        return False
    issued = any(
        len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high
        for low, high, lengths in _ISSUERS
    )
    return issued and luhn.is_valid(digits)


def _is_iban(text: str) -> bool:
    # The words after an IBAN in a text look like more of its groups: EUR, ASAP.
    groups = text.split(" ")
    return any(iban.is_valid("".join(groups[:count])) for count in range(len(groups), 0, -1))


def _is_public_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _is_phone(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 2


def _national(
    name: str, label: str, pattern: str, check: Callable[[str], bool], share: float = 0.5
) -> Detector:
    return Detector(name, label, "personal", re.compile(pattern), check, share, whole=True)


PERSONAL: tuple[Detector, ...] = (
    Detector(
        "email",
        "e-mail addresses",
        "personal",
        re.compile(
            r"(?:(?<![\w.+%:/-])|(?<=mailto:))[\w.+%-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61})\.){1,8}[A-Za-z]{2,24}\b"
        ),
        form_suffices,
        share=0.05,
        clues=("@",),
    ),
    Detector(
        "iban",
        "IBANs",
        "personal",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"),
        _is_iban,
        share=0.02,
    ),
    Detector(
        "card",
        "payment card numbers",
        "personal",
        re.compile(
            r"(?<![\w.,+-])(?:\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{2,7}|\d{4}[ -]?\d{6}[ -]?\d{4,5})(?![\w-])"
        ),
        _is_card,
        share=0.1,
    ),
    Detector(
        "phone",
        "telephone numbers",
        "personal",
        re.compile(r"(?<![\w+])\+[1-9](?:[ ./()-]{0,2}\d){7,14}(?!\d)"),
        _is_phone,
        share=0.2,
        clues=("+",),
    ),
    Detector(
        "ip",
        "public IP addresses",
        "personal",
        re.compile(
            r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w.:])"
        ),
        _is_public_address,
        share=0.2,
    ),
    _national("tax_id_de", "German tax ids", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", idnr.is_valid),
    _national("ssn_us", "US social security numbers", r"\d{3}-\d{2}-\d{4}", ssn.is_valid),
    _national("dni_es", "Spanish DNIs", r"\d{8}-?[A-Z]", dni.is_valid, 0.3),
    _national("nie_es", "Spanish NIEs", r"[XYZ]-?\d{7}-?[A-Z]", nie.is_valid, 0.3),
    _national("bsn_nl", "Dutch BSNs", r"\d{9}", bsn.is_valid),
    _national("nir_fr", "French NIRs", r"[12](?: ?\d){4} ?(?:\d{2}|2[AB])(?: ?\d){8}", nir.is_valid, 0.1),
    _national(
        "fiscal_code_it",
        "Italian fiscal codes",
        r"[A-Z]{6}\w{2}[A-Z]\w{2}[A-Z]\w{3}[A-Z]",
        codicefiscale.is_valid,
        0.1,
    ),
    _national("pesel_pl", "Polish PESELs", r"\d{11}", pesel.is_valid),
    _national(
        "personnummer_se", "Swedish personal numbers", r"(?:\d{2})?\d{6}[-+]\d{4}", personnummer.is_valid, 0.3
    ),
    _national("nn_be", "Belgian national numbers", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", nn.is_valid, 0.1),
    # No check digit: prefix letters never issued, and a suffix of four letters.
    _national(
        "nino_uk",
        "UK national insurance numbers",
        r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]",
        form_suffices,
    ),
)
