"""What reports and logs show of personal data and secrets."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.platform.masking import HIDDEN, mask, mask_named, mask_text

CLASSES = ("name", "email", "phone", "ip", "free_text", "secret")


@pytest.mark.parametrize(
    ("privacy", "value", "shown"),
    [
        ("email", "ana.silva@example.com", "a***@e***.com"),
        ("email", "x@mail.example.co.uk", "x***@m***.uk"),
        ("email", "not an address", "***"),
        ("email", "@example.com", "***"),
        ("name", "Kenji Sato", "K*** S***"),
        ("name", "Zoë", "Z***"),
        ("name", "   ", "***"),
        ("phone", "+49 151 234567 42", "***42"),
        ("phone", "112", "***"),
        ("ip", "203.0.113.59", "203.0.113.x"),
        ("ip", "203.0.113.59/24", "203.0.113.x"),
        ("ip", "2001:db8:1::5", "2001:db8:1:x"),
        ("ip", "127.0.0.1", "127.0.0.1"),
        ("ip", "over there", "***"),
        ("free_text", "I live at the harbour", "*** (21 characters)"),
        ("secret", "hunter2", "***"),
        ("a class nobody has heard of", "hunter2", "***"),
        ("email", None, None),
        ("ip", 42, "***"),
    ],
)
def test_a_value_is_shown_by_its_privacy_class(privacy: str, value: object, shown: str | None):
    assert mask(value, privacy) == shown


@given(st.sampled_from(CLASSES), st.text(min_size=1))
def test_a_mask_is_the_same_every_time_and_hides_something(privacy: str, value: str):
    shown = mask(value, privacy)
    assert shown == mask(value, privacy)
    assert shown is not None
    assert HIDDEN in shown or shown.endswith("x") or shown in {"::", "::1", "0.0.0.0"}
    assert len(shown) <= 64 or privacy == "email"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("connecting to postgresql://app:hunter2@db:5432/x", "connecting to postgresql://app:***@db:5432/x"),
        ("redis://:hunter2@cache/0", "redis://:***@cache/0"),
        ("smtp://u:p@ss/w0rd@mail:25", "smtp://u:***@mail:25"),
        ("https://a1b2c3d4e5f6a7b8c9@git.example/x", "https://***@git.example/x"),
        ("see http://localhost:8080/metrics?x=1", "see http://localhost:8080/metrics?x=1"),
        ("host=db password=hunter2 port=5432", "host=db password=*** port=5432"),
        ("password='two words' sslmode=require", "password=*** sslmode=require"),
        ('{"api_key": "abc def", "rows": 3}', '{"api_key": ***, "rows": 3}'),
        ("{'client_secret': 'abc', 'rows': 3}", "{'client_secret': ***, 'rows': 3}"),
        ("BACKUP_ENCRYPTION_KEY=q83vEjRWeJA=", "BACKUP_ENCRYPTION_KEY=***"),
        ("ALTER ROLE x PASSWORD 'hunter2' VALID", "ALTER ROLE x PASSWORD *** VALID"),
        ("Authorization: Bearer abcdefghijkl.mno", "Authorization: Bearer ***"),
        ("stored SCRAM-SHA-256$4096:c2FsdA==$abc:def", "stored ***"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln ok", "jwt *** ok"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key ***."),
        ("ghp_abcdefghijklmnopqrstuvwx", "***"),
        ("posted to https://hooks.slack.com/services/T0/B0/xyz", "posted to https://hooks.slack.com/***"),
        ("mail ana.silva@example.com, please", "mail a***@e***.com, please"),
        ("from 198.51.100.23.", "from 198.51.100.x."),
        ("from 198.51.100.23:5432", "from 198.51.100.x:5432"),
        ("peer [2001:db8::7]:443", "peer [2001:db8:0:x]:443"),
        ("peer 2001:db8::7: refused", "peer 2001:db8:0:x: refused"),
        ("call +44 20 7946 0958 now", "call ***58 now"),
        ("PostgreSQL 18.4 at 12:34:56, total_tokens=5, token_count=7", None),
        ("SELECT 'x'::text, a::jsonb FROM t", None),
        ("listening on 127.0.0.1 and ::1", None),
        ("17 rows of users.csv:12 in 3.2 s", None),
    ],
)
def test_free_text_loses_its_secrets_and_keeps_the_rest(text: str, shown: str | None):
    assert mask_text(text) == (text if shown is None else shown)


def test_a_private_key_is_hidden_whole_even_when_it_is_cut_off():
    whole = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4\n\nMIIE\n-----END RSA PRIVATE KEY-----"
    assert mask_text(f"a {whole} b") == "a -----PRIVATE KEY ***----- b"
    assert mask_text(f"a {whole[:60]}") == "a -----PRIVATE KEY ***-----"


@given(st.text(), st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=8))
def test_a_password_in_a_url_never_survives(before: str, password: str):
    shown = mask_text(f"{before} postgresql://someone:{password}@db.internal/x")
    assert f":{password}@" not in shown


@given(st.text())
def test_masking_twice_changes_nothing_more(text: str):
    once = mask_text(text)
    assert mask_text(once) == once


HOSTILE = [
    *("a", "a@", "a.a@a.", "://a:", "://a:b", "password=", "password='", "eyJ-", "1.1.1.1.", ":1:", "+1 1 "),
    *("-----BEGIN PRIVATE KEY-----", "bearer ", "token", "sk-", " ", "\n", "x@x.x "),
]


def test_no_text_makes_masking_backtrack_for_ever():
    program = (
        "import json, sys\n"
        "from tenant_ops.platform.masking import mask_text\n"
        "for unit in json.load(sys.stdin): mask_text(unit * (100_000 // len(unit)))\n"
    )
    # A pattern that backtracks would take hours; the minutes are a guard against hanging, no stopwatch.
    command = [sys.executable, "-c", program]
    subprocess.run(command, input=json.dumps(HOSTILE), text=True, timeout=300, check=True)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("password", "x", "***"),
        ("db_password", 12, "***"),
        ("access_token", "x", "***"),
        ("backup_key", "x", "***"),
        ("admin_email", "ana@example.com", "a***@e***.com"),
        ("ip_address", "203.0.113.9", "203.0.113.x"),
        ("client_ip", "203.0.113.9", "203.0.113.x"),
        ("display_name", "Ana Silva", "A*** S***"),
        ("name", "users", "users"),
        ("total_tokens", 12, 12),
        ("has_password", True, True),
        ("password", None, None),
        ("script", "x", "x"),
    ],
)
def test_a_value_is_masked_by_a_telling_name(name: str, value: object, shown: object):
    assert mask_named(name, value) == shown
