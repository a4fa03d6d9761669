"""Reading JSON and NDJSON: exact values, positions, and what makes a file unusable."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import Column, Dataset
from tenant_ops.loading.sources.batch import NOT_UTF8, Batch, Reject
from tenant_ops.loading.sources.columns import Columns
from tenant_ops.loading.sources.json_files import NOT_JSON, NOT_OBJECT, members, read_json, read_ndjson
from tenant_ops.loading.sources.streams import LONGEST_ROW, TextStream
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.test_streams import Dribble

PAIRS = Dataset("pairs", "", (Column("a", "text", source="A"), Column("b", "jsonb", nullable=True)), ("a",))


def stream(content: str | bytes, seed: int | None = None) -> TextStream:
    data = content if isinstance(content, bytes) else content.encode()
    source = io.BytesIO(data) if seed is None else Dribble(data, seed)
    return TextStream(source, "pairs.json")


def array(
    content: str | bytes,
    *,
    member: str | None = None,
    unknown: str = "strict",
    rows: int = 100,
    seed: int | None = None,
) -> Iterator[Batch]:
    columns = Columns(PAIRS, "pairs.json", unknown)
    return read_json(stream(content, seed), columns, member=member, batch_rows=rows)


def lines(content: str | bytes, *, unknown: str = "strict", rows: int = 100) -> Iterator[Batch]:
    return read_ndjson(stream(content), Columns(PAIRS, "pairs.json", unknown), batch_rows=rows)


def rows_of(batches: Iterator[Batch]) -> tuple[list[tuple[Any, ...]], list[Reject]]:
    rows: list[tuple[Any, ...]] = []
    rejects: list[Reject] = []
    for batch in batches:
        rows += zip(batch.lines.to_pylist(), *(batch.columns[name].to_pylist() for name in "ab"), strict=True)
        rejects += batch.rejects
    return rows, rejects


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=5), JSON), max_size=6),
    st.sampled_from([None, 0, 2]),
    st.integers(0, 3),
)
def test_what_a_json_writer_wrote_is_read_with_the_lines_it_is_on(
    pairs: list[tuple[str, Any]], indent: int | None, seed: int
) -> None:
    items = [json.dumps({"A": a, "b": b}, indent=indent) for a, b in pairs]
    content = "[\n" + ",\n".join(items) + "\n]\n"
    rows, rejects = rows_of(array(content, rows=2, seed=seed))
    assert rejects == []
    at = 2
    for item, (line, a, b), (wanted_a, wanted_b) in zip(items, rows, pairs, strict=True):
        assert (line, a) == (at, wanted_a)
        assert (None if b is None else json.loads(b)) == wanted_b
        at += item.count("\n") + 1


def test_numbers_keep_every_digit() -> None:
    exact = "12345678901234567890.123456789012345678901234567890"
    (row,), _ = rows_of(
        array(f'[{{"A": {exact}, "b": {{"x": {exact}, "y": [1.10, 98765432109876543210]}}}}]')
    )
    assert row == (1, exact, f'{{"x":{exact},"y":[1.10,98765432109876543210]}}')


def test_values_of_other_types_are_spelled_as_text() -> None:
    rows, _ = rows_of(
        lines('{"A": true, "b": "x"}\n{"A": 5}\n{"A": [1, {"k": null}], "b": false}\n{"A": null}\n')
    )
    assert rows == [
        (1, "true", '"x"'),
        (2, "5", None),
        (3, '[1,{"k":null}]', "false"),
        (4, None, None),
    ]


def test_a_broken_line_is_rejected_alone() -> None:
    content = b'{"A": "1"}\n\n{"A": \n[1]\n{"A": NaN}\n{"A": "caf\xe9"}\n' + b"[" * 100_000 + b'\n{"A": "2"}'
    rows, rejects = rows_of(lines(content))
    assert [(line, a) for line, a, _ in rows if "caf" not in a] == [(1, "1"), (8, "2")]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (3, NOT_JSON),
        (4, NOT_OBJECT),
        (5, NOT_JSON),
        (7, NOT_JSON),
    ]


def test_text_that_is_not_unicode_is_a_fault_of_its_cell() -> None:
    (batch,) = array(b'[{"A": "\\ud800", "b": 1}, {"A": "ok"}, {"A": "caf\xe9"}, {"A": "\\ud83c\\udfb5"}]')
    assert [(fault.row, fault.column, fault.reason) for fault in batch.faults] == [
        (0, "a", NOT_UTF8),
        (2, "a", NOT_UTF8),
    ]
    assert batch.columns["a"][3].as_py() == "\U0001f3b5"


MANY = '{"meta": {"v": 1},\n "Pairs": [{"A": 1}, {"A": 2}], "Other": [1, [2]], "a.b": []}'


@pytest.mark.parametrize("seed", range(5))
def test_an_object_of_arrays_holds_several_tables(seed: int) -> None:
    assert members(stream(MANY, seed)) == ("Pairs", "Other", "a.b")
    assert rows_of(array(MANY, member="Pairs", seed=seed))[0] == [(2, "1", None), (2, "2", None)]
    assert rows_of(array(MANY, member="a.b", seed=seed))[0] == []
    assert members(stream("[]")) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "pairs.json, line 1: expected a JSON array, found the end of the file."),
        ('"text"', "pairs.json, line 1: expected a JSON array, found '\"text\"'."),
        (
            '[{"A": 1}',
            "pairs.json, line 1: expected a comma or the end of the array, found the end of the file.",
        ),
        (
            '[{"A": 1}\n{"A": 2}]',
            "pairs.json, line 2: expected a comma or the end of the array, found '{\"A\": 2}]'.",
        ),
        ('[{"A": 1},\n{"A" 2}]', "pairs.json, line 2: not valid JSON: Expecting ':' delimiter, found '2}]'."),
        ('[{"A": 1}, ]', "pairs.json, line 1: not valid JSON"),
        ('[{"A": 1}] x', "pairs.json, line 1: expected the end of the file, found 'x'."),
        ('[{"A": 1}, {"C": 2}]', "pairs.json, line 1: pairs has no column 'C'."),
        ('[{"A": "' + "x" * (3 * LONGEST_ROW), "pairs.json, line 1: a row is longer than 8 MB."),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(content: str | bytes, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(array(content))
    assert str(caught.value).startswith(expected)


def test_unknown_members_are_ignored_when_told_so() -> None:
    assert rows_of(lines('{"A": 1, "C": 2}\n', unknown="ignore"))[0] == [(1, "1", None)]
    with pytest.raises(InputError, match=r"pairs\.json, line 2: pairs has no column 'C'"):
        rows_of(lines('{"A": 1}\n{"A": 1, "C": 2}\n'))
