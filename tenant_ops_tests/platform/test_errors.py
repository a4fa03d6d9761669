"""Errors as sentences."""

from tenant_ops.platform.errors import first_line


def test_of_a_long_error_the_first_line_is_told() -> None:
    assert first_line(ValueError("\n  relation is missing\nLINE 1: SELECT\n")) == "relation is missing"


def test_a_silent_error_is_told_by_its_class() -> None:
    assert first_line(ConnectionResetError()) == "ConnectionResetError"
