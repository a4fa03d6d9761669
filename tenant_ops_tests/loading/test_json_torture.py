"""JSON and NDJSON as they come: exact values, one bad row at a time, and files that are refused whole."""

import codecs
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import Column, Dataset
from tenant_ops.loading import Drifted, Reading, SourceFile
from tenant_ops.loading.sources import Reject, open_source
from tenant_ops.loading.sources.batch import NOT_UTF8, NUL
from tenant_ops.loading.sources.json_files import NOT_JSON, NOT_OBJECT, REPEATED
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import Shop

PAIRS = Dataset("pairs", "", (Column("a", "text"), Column("b", "jsonb", nullable=True)), ("a",))
GOOD = b'{"a": "ok"}'


def source(path: Path, content: bytes, format_: str = "ndjson", compression: str = "") -> SourceFile:
    place = path / "file"
    place.write_bytes(content)
    return SourceFile(f"pairs.{format_}", str(place), format_, compression, None, len(content), "")  # pyright: ignore[reportArgumentType]


def read(
    file: SourceFile, encoding: str = "auto", *, rows: int = 1000, drift: str = "strict"
) -> tuple[list[tuple[Any, ...]], list[Reject], list[tuple[str, str]]]:
    """Good rows with their lines, the others, and what is no text."""
    good: list[tuple[Any, ...]] = []
    rejects: list[Reject] = []
    faults: list[tuple[str, str]] = []
    with open_source(file, PAIRS, batch_rows=rows, drift=drift, reading=Reading(encoding)) as opened:
        for batch in opened.batches:
            columns = [batch.columns[name].to_pylist() for name in "ab"]
            good += zip(batch.lines.to_pylist(), *columns, strict=True)
            rejects += batch.rejects
            faults += [(fault.column, fault.reason) for fault in batch.faults]
    return good, rejects, faults


def problem(file: SourceFile) -> str:
    with pytest.raises(InputError) as caught:
        read(file)
    return str(caught.value)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufdd0"), max_size=6)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, VALUES), max_size=6),
    st.sampled_from(["json", "ndjson"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp037"]),
    st.sampled_from(["", "gz", "zst"]),
    st.booleans(),
    st.integers(1, 3),
)
def test_what_pythons_writer_wrote_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[str, Any]],
    format_: str,
    encoding: str,
    compression: str,
    escaped: bool,
    rows: int,
) -> None:
    items = [{"a": a, "b": b} for a, b in pairs]
    escaped = escaped or encoding == "cp037"
    if format_ == "json":
        text = json.dumps(items, ensure_ascii=escaped)
    else:
        text = "".join(f"{json.dumps(item, ensure_ascii=escaped)}\n" for item in items)
    data = text.encode(encoding)
    packed = {"gz": gzip.compress, "zst": zstandard.compress, "": bytes}[compression](data)
    file = source(tmp_path_factory.getbasetemp(), packed, format_, compression)
    told = encoding if encoding in {"cp037", "utf-16-be"} else "auto"
    good, rejects, faults = read(file, told, rows=rows)
    assert [(a, None if b is None else json.loads(b)) for _, a, b in good] == pairs
    assert (rejects, faults) == ([], [])


EXACT = [
    ("1" * 5000, "1" * 5000),
    ("-0.00", "-0.00"),
    ("1e400", "1E+400"),
    ("1e-400", "1E-400"),
    ("12345678901234567890.123456789012345678901234567890",) * 2,
    ("1e99999999999999999999",) * 2,
    ("-1.5e-99999999999999999999",) * 2,
    ("9223372036854775808",) * 2,
]


@pytest.mark.parametrize(("number", "spelled"), EXACT)
@pytest.mark.parametrize("format_", ["json", "ndjson"])
def test_a_number_of_any_size_arrives_with_every_digit(
    tmp_path: Path, format_: str, number: str, spelled: str
) -> None:
    content = f'{{"a": {number}, "b": [{number}]}}'
    ((_, a, b),), rejects, _ = read(
        source(tmp_path, (f"[{content}]" if format_ == "json" else content).encode(), format_)
    )
    assert (a, b, rejects) == (spelled, f"[{spelled}]", [])


BAD_LINES = {
    b'{"a": "1",}': NOT_JSON,
    b'{"a": "1"} {"a": "2"}': NOT_JSON,
    b'{"a": NaN}': NOT_JSON,
    b'{"a": -Infinity}': NOT_JSON,
    b'{"a": 01}': NOT_JSON,
    b'{"a": 1.}': NOT_JSON,
    b"{'a': 1}": NOT_JSON,
    b'{a: "1"}': NOT_JSON,
    b'{"a": "1"': NOT_JSON,
    b'{"a": "1" // why\n': NOT_JSON,
    b'{"a": "tab\there"}': NOT_JSON,
    b'{"a": "\\x41"}': NOT_JSON,
    b'{"a": "\\ud8"}': NOT_JSON,
    b'{"a": undefined}': NOT_JSON,
    b"{" * 100_000: NOT_JSON,
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": NOT_JSON,
    b"\xff": NOT_JSON,
    b"\0": NOT_JSON,
    b"text": NOT_JSON,
    b"null": NOT_OBJECT,
    b"1.50": NOT_OBJECT,
    b'["a", 1.10]': NOT_OBJECT,
    b'"text"': NOT_OBJECT,
    b'{"a": "1", "a": "1"}': REPEATED,
    b'{"a": "1", "b": {"x": 1, "x": 2}}': REPEATED,
    b'{"a": "1", "b": [{"x": 1, "y": 3, "x": 2}]}': REPEATED,
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items(), ids=range(len(BAD_LINES)))
def test_a_bad_line_is_rejected_alone(tmp_path: Path, line: bytes, reason: str) -> None:
    good, rejects, faults = read(source(tmp_path, GOOD + b"\r\n\n" + line.strip(b"\n") + b"\n" + GOOD))
    assert [(at, a) for at, a, _ in good] == [(1, "ok"), (4, "ok")]
    ((at, told, raw),) = [(reject.line, reject.reason, reject.raw) for reject in rejects]
    assert (at, told) == (3, reason)
    assert faults == []
    assert "1.10" in raw or b"1.10" not in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'"caf\xe9"', NOT_UTF8),
        (b'"\xed\xa0\x80"', NOT_UTF8),
        (b'"\\ud800"', NOT_UTF8),
        (b'"\\udc00\\ud800"', NOT_UTF8),
        (b'"a\0b"', NUL),
    ],
)
def test_text_that_is_none_spoils_its_cell(tmp_path: Path, text: bytes, reason: str) -> None:
    for content, format_ in ((b'{"a": ' + text + b"}", "ndjson"), (b'[{"a": ' + text + b"}]", "json")):
        good, rejects, faults = read(source(tmp_path, content, format_))
        assert (len(good), rejects, faults) == (1, [], [("a", reason)])


def test_where_bytes_that_are_no_text_stand_is_told(tmp_path: Path) -> None:
    content = codecs.BOM_UTF8 + GOOD + b'\n{"a": "caf\xe9"}\n'
    good, _, _ = read(source(tmp_path, content))
    assert good[1][1] == f"caf\ufdd0<e9 at byte {content.index(0xE9)}>"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "pairs.json, line 1: expected a JSON array, found the end of the file."),
        (b" \n", "pairs.json, line 2: expected a JSON array, found the end of the file."),
        (b"null", "pairs.json, line 1: expected a JSON array, found 'null'."),
        (GOOD + b"\n" + GOOD, 'pairs.json, line 1: expected a JSON array, found \'{"a": "ok"}'),
        (b"[" + GOOD, "pairs.json, line 1: expected a comma or the end of the array, found the end"),
        (b"[" + GOOD + b",]", "pairs.json, line 1: not valid JSON: Expecting value"),
        (b"[\n" + GOOD + b",\n" + b'{"a": "2",}]', "pairs.json, line 3: not valid JSON"),
        (b"[\n" + GOOD + b",\n\n" + b'{"a": NaN}]', "pairs.json, line 4: not valid JSON: NaN is not JSON"),
        (b"[" + GOOD + b"] []", "pairs.json, line 1: expected the end of the file, found '[]'."),
        (b"[" + GOOD + b"\xff]", "pairs.json, line 1: expected a comma or the end of the array"),
        (b"[" + b"[" * 100_000, "pairs.json, line 1: not valid JSON"),
        (b'[{"a": "' + b"x" * (20 << 20) + b'"}]', "pairs.json, line 1: a row is longer than 8 MB."),
    ],
)
def test_a_file_that_is_not_json_is_refused_whole(tmp_path: Path, content: bytes, expected: str) -> None:
    assert problem(source(tmp_path, content, "json")).startswith(expected)


def test_elements_with_a_member_twice_or_of_other_kinds_are_rejected_alone(tmp_path: Path) -> None:
    content = b'[{"a": "1"},\n{"a": "2", "a": "3"}, 7,\n{"a": "4"}]'
    good, rejects, _ = read(source(tmp_path, content, "json"))
    assert [(at, a) for at, a, _ in good] == [(1, "1"), (3, "4")]
    assert rejects == [Reject(2, REPEATED, '{"a": "2", "a": "3"}'), Reject(2, NOT_OBJECT, "7")]


def test_an_array_on_one_line_may_be_of_any_length(tmp_path: Path) -> None:
    items = [json.dumps({"a": str(number), "b": "x" * 9_000}) for number in range(2_000)]
    file = source(tmp_path, f"[{','.join(items)}]".encode(), "json")
    tracemalloc.start()
    try:
        with open_source(file, PAIRS, batch_rows=50, drift="strict", reading=Reading()) as opened:
            assert sum(batch.rows for batch in opened.batches) == 2_000
        assert tracemalloc.get_traced_memory()[1] < 12 << 20 < file.bytes, "never the whole line"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format_", ["json", "ndjson"])
def test_a_line_of_100_mb_is_refused_without_being_held(tmp_path: Path, format_: str) -> None:
    content = b'[{"a": "' if format_ == "json" else b'{"a": "'
    file = source(tmp_path, content + b"x" * (100 << 20), format_)
    tracemalloc.start()
    try:
        assert "a row is longer than 8 MB" in problem(file)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_an_empty_file_of_lines_has_no_rows(tmp_path: Path) -> None:
    for content in (b"", b"\n\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE):
        assert read(source(tmp_path, content)) == ([], [], [])
    assert read(source(tmp_path, b"[]", "json")) == ([], [], [])


@pytest.mark.parametrize("format_", ["json", "ndjson"])
def test_members_nobody_knows_and_members_nobody_has_are_told(tmp_path: Path, format_: str) -> None:
    rows = [{"a": str(n), "new": n, "rare": None if n else [1, {"x": 1}]} for n in range(30)]
    content = json.dumps(rows) if format_ == "json" else "\n".join(map(json.dumps, rows))
    file = source(tmp_path, content.encode(), format_)
    with open_source(file, PAIRS, batch_rows=7, drift="evolve", reading=Reading()) as opened:
        assert sum(batch.rows for batch in opened.batches) == 30
        assert opened.drift == (
            Drifted(file.name, "new", "unknown", "passed over, and a migration that adds it is proposed"),
            Drifted(file.name, "rare", "unknown", "passed over, and a migration that adds it is proposed"),
            Drifted(file.name, "b", "missing", "empty in every row"),
        )
        assert opened.samples == {"new": [str(n) for n in range(20)], "rare": ['[1,{"x":1}]']}
    assert "pairs has no column 'new'" in problem(file)


def test_numbers_no_column_takes_are_quarantined_and_not_an_error(shop: Shop) -> None:
    shop.write(
        "Orders.ndjson",
        "".join(
            f'{{"Customer": 1, "No.": {number}, "Total amount": {total}, "paid": true}}\n'
            for number, total in [
                (1, "1e99999999999999999999"),
                ("1" * 5000, 1),
                (3, "-1e400"),
                (4, '"NaN"'),
                (9223372036854775808, 1),
                (5, "10.000"),
            ]
        ),
    )
    shop.write(
        "customers.json",
        '[{"id": 1, "name": "Ada", "profile": {"n": 1e99999999999999999999}}, {"id": 1, "name": "Ben"}]',
    )
    report = shop.load()
    assert (report.inserted, report.quarantined) == (2, 6)
    assert [(entry["line"], entry["column_name"]) for entry in shop.quarantine()] == [
        (1, "profile"),
        (1, "total"),
        (2, "number"),
        (3, "total"),
        (4, "total"),
        (5, "number"),
    ]
