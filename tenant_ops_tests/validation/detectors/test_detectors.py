"""Detectors find what was made to be found, not its neighbour by one digit, and nothing in business text.

Whatever looks like a secret here is put together when the test runs.
"""

import base64
import json
import string
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stdnum import iban, luhn
from stdnum.es import dni
from stdnum.fr import nir
from stdnum.iso7064 import mod_11_10

from tenant_ops.validation.detectors import (
    PERSONAL,
    SECRETS,
    judge,
    kinds_in,
    secrets_in_document,
    wilson_lower,
)

ALL = (*PERSONAL, *SECRETS)
DIGITS = st.characters(categories=(), whitelist_characters=string.digits)
WORDS = st.text(string.ascii_letters, min_size=1, max_size=12)


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=count, max_size=count)


@st.composite
def german_ibans(draw: st.DrawFn) -> str:
    rest = draw(digits(18))
    return f"DE{iban.calc_check_digits(f'DE00{rest}')}{rest}"


@st.composite
def cards(draw: st.DrawFn) -> str:
    start, length = draw(
        st.sampled_from([("4", 16), ("53", 16), ("2345", 16), ("37", 15), ("6011", 16), ("3530", 16)])
    )
    body = start + draw(digits(length - len(start) - 1))
    assume(len(set(body)) > 1)
    return body + luhn.calc_check_digit(body)


@st.composite
def french_numbers(draw: st.DrawFn) -> str:
    body = draw(st.sampled_from("12")) + draw(digits(2)) + f"{draw(st.integers(1, 12)):02}"
    body += f"{draw(st.integers(1, 95)):02}" + draw(digits(6))
    return body + nir.calc_check_digits(body)


@st.composite
def spanish_numbers(draw: st.DrawFn) -> str:
    body = draw(digits(8))
    return body + dni.calc_check_digit(body)


@st.composite
def german_tax_ids(draw: st.DrawFn) -> str:
    """Ten digits of which one comes twice and one not at all, and the check digit."""
    order = draw(st.permutations(list(string.digits)))
    assume(order[0] != "0")
    body = "".join([*order[:9], order[0]])
    return body + mod_11_10.calc_check_digit(body)


@st.composite
def dutch_numbers(draw: st.DrawFn) -> str:
    body = draw(digits(8))
    last = sum((9 - place) * int(digit) for place, digit in enumerate(body)) % 11
    assume(last < 10 and int(body) > 0)
    return f"{body}{last}"


CHECKED = {
    "iban": german_ibans(),
    "card": cards(),
    "nir_fr": french_numbers(),
    "dni_es": spanish_numbers(),
    "tax_id_de": german_tax_ids(),
    "bsn_nl": dutch_numbers(),
}


@pytest.mark.parametrize("name", CHECKED)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_valid_number_is_found_and_one_with_a_changed_digit_is_not(name: str, data: st.DataObject) -> None:
    number = data.draw(CHECKED[name])
    assert name in kinds_in(number, ALL)
    places = [place for place, character in enumerate(number) if character.isdigit()]
    place = data.draw(st.sampled_from(places))
    other = data.draw(st.sampled_from([one for one in string.digits if one != number[place]]))
    assert name not in kinds_in(number[:place] + other + number[place + 1 :], ALL)


@settings(max_examples=60, deadline=None)
@given(number=german_ibans(), before=WORDS, after=st.sampled_from(["EUR", "ASAP", "please", "in 3 days"]))
def test_an_iban_is_found_in_a_text_in_groups_of_four(number: str, before: str, after: str) -> None:
    grouped = " ".join(number[start : start + 4] for start in range(0, len(number), 4))
    assert "iban" in kinds_in(f"{before} {grouped} {after}", ALL)


@settings(max_examples=60, deadline=None)
@given(number=cards(), separator=st.sampled_from(" -"))
def test_a_card_number_is_found_as_people_write_it(number: str, separator: str) -> None:
    groups = (0, 4, 8, 12, 16) if len(number) == 16 else (0, 4, 10, 15)
    written = separator.join(number[low:high] for low, high in pairwise(groups))
    assert "card" in kinds_in(f"paid with {written}, thank you", ALL)


BUSINESS = st.lists(
    st.one_of(
        WORDS,
        st.integers(0, 99_999).map(str),
        st.decimals(0, 99_999, places=2).map(str),
        st.dates().map(str),
        st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds")),
        st.uuids().map(str),
        st.binary(min_size=20, max_size=20).map(bytes.hex),
        st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: f"v{pair[0]}.{pair[1]}.0"),
        st.sampled_from(["10.0.0.1", "192.168.17.4", "fe80::1", "https://docs.example/a?b=c", "12:30:59"]),
        st.sampled_from(["+15 %", "@everyone", "INV-2026-0001", "ISO 27001", "USD 1,200.00", "a:b@c"]),
    ),
    min_size=1,
    max_size=12,
).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(text=BUSINESS)
def test_business_text_holds_nothing(text: str) -> None:
    assert kinds_in(text, [one for one in ALL if not one.whole]) == set()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.randoms(use_true_random=False),
    length=st.sampled_from([8, 9, 10, 11, 13, 16]),
)
def test_a_column_of_numbers_drawn_at_random_is_not_reported(seed: object, length: int) -> None:
    choice = seed.choice  # pyright: ignore[reportAttributeAccessIssue]
    column = ["".join(choice(string.digits) for _ in range(length)) for _ in range(200)]
    assert judge(column, ALL) == ()


def jwt() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890", "name": "Somebody"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


MIXED = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0"
FOUND = {
    "email": "write to mary.lou+songs@mail.songs.co.uk, please",
    "phone": "call +49 (30) 1234-5678 after ten",
    "ip": "seen from 8.8.4.4",
    "ssn_us": "536-90-4399",
    "nino_uk": "AB 12 34 56 C",
    "fiscal_code_it": "RCCMNL83S18D969H",
    "jwt": f"Bearer {jwt()}",
    "aws_key": "AK" + "IA" + "QWERTYUIOPASDFGH",
    "gcp_account": '{"type": "service_account", "project_id": "songs"}',
    "gcp_key": "AI" + "za" + MIXED[:35],
    "azure_key": "AccountName=songs;Account" + "Key=" + base64.b64encode(bytes(range(64))).decode(),
    "github_token": "gh" + "p_" + MIXED[:36],
    "slack_token": "xo" + "xb-" + MIXED[:30],
    "stripe_key": "sk_" + "live_" + MIXED[:24],
    "private_key": "-----BEGIN OPENSSH PRIVATE " + "KEY-----",
    "url_password": "postgresql://songs:" + "Tr0ub4dor@db.example/songs",
}


@pytest.mark.parametrize("name", FOUND)
def test_every_kind_is_found(name: str) -> None:
    assert name in kinds_in(FOUND[name], ALL)


@pytest.mark.parametrize(
    "text",
    [
        "eyJhbG.notjson.atall",
        "ey" + "JhYmMiOiJkZWYifQ.eyJhIjoiYiJ9.c2ln",
        "postgresql://songs:${PASSWORD}@db.example/songs",
        "https://songs.example:8443/path?to=mary",
        "AK" + "IA" + "0189" * 4,
        "000-12-3456",
        "666-12-3456",
        "QQ 12 34 56 C",
        "4111 1111 1111 1112",
        "127.0.0.1",
        "2001:db8::1",
        "mary@localhost",
    ],
)
def test_what_only_looks_like_one_is_not_found(text: str) -> None:
    assert kinds_in(text, ALL) == set()


def test_a_column_is_reported_when_enough_of_its_values_match() -> None:
    address, word = "mary@songs.example", "melody"
    assert judge([address] * 3 + [word] * 197, ALL) == ()
    (verdict,) = judge([address] * 40 + [word] * 160 + [None, ""], ALL)
    assert (verdict.detector.name, verdict.matching, verdict.sampled) == ("email", 40, 200)
    assert 0.14 < verdict.at_least < 0.2


def test_one_secret_in_a_column_is_one_too_many() -> None:
    (verdict,) = judge([FOUND["private_key"]] + ["melody"] * 199, ALL)
    assert verdict.detector.name == "private_key"


def test_documents_are_searched_leaf_by_leaf() -> None:
    column = [json.dumps({"owner": {"tax": ["12345678Z"]}, "note": "x"})] * 20
    assert [one.detector.name for one in judge(column, ALL, documents=True)] == ["dni_es"]
    assert judge(column, ALL) == ()


def test_a_document_cut_off_in_the_middle_is_searched_as_text() -> None:
    column = [json.dumps({"owner": "mary@songs.example", "note": "x" * 50})[:40]] * 20
    assert [one.detector.name for one in judge(column, ALL, documents=True)] == ["email"]


def test_secrets_of_a_document_are_told_by_place_and_never_by_value() -> None:
    document = {
        "integrations": {"slack": {"hook": FOUND["slack_token"], "enabled": True}},
        "smtp": {"password": "hunter2", "host": "mail.example", "password_env": ""},
        "plan": ["a", FOUND["jwt"]],
    }
    found = dict(secrets_in_document(document))
    assert found == {
        "integrations.slack.hook": "Slack tokens",
        "smtp.password": "a value under a name for secrets",
        "plan[1]": "JSON web tokens",
    }


def test_the_bound_is_wilsons() -> None:
    # Values of the score interval as tabulated by Newcombe (1998), "Two-sided confidence intervals ...".
    assert wilson_lower(81, 263) == pytest.approx(0.2553, abs=1e-4)
    assert wilson_lower(0, 20) == pytest.approx(0.0, abs=1e-9)
    assert wilson_lower(0, 0) == 0.0
    assert wilson_lower(29, 29) == pytest.approx(0.8830, abs=1e-4)
