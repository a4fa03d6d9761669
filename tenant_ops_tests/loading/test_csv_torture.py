"""CSV as it comes: every dialect and encoding, and everything that can be wrong with a file."""

import codecs
import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import Column, Dataset
from tenant_ops.datasets.frames import Fault
from tenant_ops.loading import Reading, SourceFile
from tenant_ops.loading.sources import Batch, Reject, open_source
from tenant_ops.loading.sources.batch import NOT_UTF8, NUL
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import Shop

ROWS = Dataset(
    "rows",
    "",
    (
        Column("a", "text"),
        Column("b", "text", nullable=True),
        Column("c", "text", nullable=True, source="C d"),
    ),
    ("a",),
)


def source(path: Path, content: bytes, name: str = "rows.csv", compression: str = "") -> SourceFile:
    place = path / "file"
    place.write_bytes(content)
    format_ = "tsv" if name.endswith(".tsv") else "csv"
    return SourceFile(name, str(place), format_, compression, None, len(content), "")


def read(
    file: SourceFile, reading: Reading | None = None, *, drift: str = "strict", batch_rows: int = 1000
) -> tuple[list[tuple[str | None, ...]], list[Reject], list[Fault]]:
    """Good rows, the others, and what is no text."""
    rows: list[tuple[str | None, ...]] = []
    rejects: list[Reject] = []
    faults: list[Fault] = []
    with open_source(file, ROWS, batch_rows=batch_rows, drift=drift, reading=reading or Reading()) as opened:
        for batch in opened.batches:
            faults += [Fault(fault.row + len(rows), fault.column, fault.reason) for fault in batch.faults]
            rows += zip(*(_column(batch, name) for name in ROWS.column_names), strict=True)
            rejects += batch.rejects
    return rows, rejects, faults


def _column(batch: Batch, name: str) -> list[str | None]:
    return batch.columns[name].to_pylist() if name in batch.columns else [None] * len(batch.lines)


def problem(file: SourceFile, reading: Reading | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read(file, reading)
    return str(caught.value)


ODD = st.sampled_from(",;\t|\"'\n ab\u00e9\u0416\u2028\x0b")
CELLS = st.text(ODD | st.characters(codec="utf-8", exclude_characters="\r\0\ufdd0"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS).filter(any), max_size=8),
    st.sampled_from([",", ";", "\t", "|", ":", "^"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030"]),
    st.sampled_from(["", "gz", "zst"]),
    st.permutations(["a", "b", "C d"]),
    st.integers(1, 4),
    st.booleans(),
)
def test_what_pythons_writer_wrote_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[tuple[str, str, str]],
    delimiter: str,
    quoting: int,
    line_end: str,
    encoding: str,
    compression: str,
    order: list[str],
    batch_rows: int,
    told: bool,
) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerow(order)
    for row in cells:
        writer.writerow([row[("a", "b", "C d").index(name)] for name in order])
    data = sink.getvalue().encode(encoding)
    packed = {"gz": gzip.compress, "zst": zstandard.compress, "": bytes}[compression](data)
    file = source(tmp_path_factory.getbasetemp(), packed, compression=compression)
    by_itself = delimiter in ",;\t|" and encoding != "gb18030" and encoding != "utf-16-be"
    reading = Reading() if by_itself and not told else Reading(encoding, delimiter)
    rows, rejects, faults = read(file, reading, batch_rows=batch_rows)
    # An unquoted empty value is null, which the writer cannot tell from an empty text.
    assert [tuple(cell or "" for cell in row) for row in rows] == cells
    assert (rejects, faults) == ([], [])


@pytest.mark.parametrize(
    ("header", "name", "expected"),
    [
        ("a;b;C d", "rows.csv", ";"),
        ("a|b|C d", "rows.csv", "|"),
        ("a\tb\tC d", "rows.csv", "\t"),
        ("a,b,C d", "rows.tsv", ","),
        ('"a";"b";"C d"', "rows.csv", ";"),
        ("a;b;x,y,z,w", "rows.csv", ";"),
    ],
)
def test_what_separates_values_is_found_in_the_header(
    tmp_path: Path, header: str, name: str, expected: str
) -> None:
    file = source(tmp_path, f"{header}\n1{expected}2{expected}3\n".encode(), name)
    assert read(file, drift="ignore")[0][0][:2] == ("1", "2")


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_a_header_of_one_column_stays_one_column(tmp_path: Path, name: str) -> None:
    assert read(source(tmp_path, b"a\nx;y|z\n", name))[0] == [("x;y|z", None, None)]


def test_what_separates_values_can_be_told(tmp_path: Path) -> None:
    file = source(tmp_path, b"a:b\n1,5:2\n")
    assert read(file, Reading(delimiter=":"))[0] == [("1,5", "2", None)]
    assert "rows has no column 'a:b'" in problem(file)
    tabs = source(tmp_path, b"a\tb\n1\t2\n")
    for spelling in ("tab", "\\t", "\t"):
        assert read(tabs, Reading(delimiter=spelling))[0] == [("1", "2", None)]
    assert "looks separated by '\\t'" in problem(tabs, Reading(delimiter=";"))
    for wrong in ("", "ab", '"', "x", " ", "\n", "é", "<"):
        assert "values cannot be separated by" in problem(tabs, Reading(delimiter=wrong))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a,b\n"1""2","say ""hi"""\n', [('1"2', 'say "hi"', None)]),
        (b'a,b\n"1\n2","3\r\n4"\n', [("1\n2", "3\r\n4", None)]),
        (b'a,b\n"""1""",x\n', [('"1"', "x", None)]),
        (b'a,b\n1,""\n2,\n', [("1", "", None), ("2", None, None)]),
        (b"a,b\r\n1,x\r\n", [("1", "x", None)]),
        (b"a,b\r\n1,x\n2,y\r\n", [("1", "x", None), ("2", "y", None)]),
        (b"a,b\n1,x", [("1", "x", None)]),
        (b"a,b\n\n\n1,x\n\n", [("1", "x", None)]),
        (b"b,C d,a\nx,y,1\n", [("1", "x", "y")]),
        (codecs.BOM_UTF8 + b'"a",b\n1,x\n', [("1", "x", None)]),
        ("a,b\n1,\u2028x\x0b\x1c\x85\n".encode(), [("1", "\u2028x\x0b\x1c\x85", None)]),
        (b"a,b\n1," + b"9" * 5000 + b"\n", [("1", "9" * 5000, None)]),
        (b"a,b\n=1+1,@x\n", [("=1+1", "@x", None)]),
        (b"a,b\nNA,null\n", [("NA", "null", None)]),
        (b"a,b\n 1 , x\n", [(" 1 ", " x", None)]),
    ],
)
def test_what_is_odd_but_means_one_thing_is_read_as_that(
    tmp_path: Path, content: bytes, expected: list[tuple[str | None, ...]]
) -> None:
    for batch_rows in (1, 100):
        assert read(source(tmp_path, content), batch_rows=batch_rows) == (expected, [], [])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "rows.csv: the file is empty."),
        (b"\n", "rows.csv: the file is empty."),
        (codecs.BOM_UTF8, "rows.csv: the file is empty."),
        (b"\n\na,b\n", "rows.csv: the first line is empty."),
        (b"a,b,a\n1,2,3\n", "rows.csv, line 1, column 3: the column 'a' is there twice."),
        (b"a,,b\n1,2,3\n", "rows.csv, line 1, column 2: the column has no name."),
        (b"a,b,\n1,2,\n", "rows.csv, line 1, column 3: the column has no name."),
        (b"a,b,zz\n", "rows.csv, line 1, column 3: rows has no column 'zz'."),
        (b"b\n1\n", "rows.csv, line 1: the columns a of rows are missing."),
        (b"a\rb\r1\r2\r", "rows.csv, line 1: the header cannot be read: new-line character seen"),
        (b'a,"b\n1,2\n', "rows.csv, line 1: the header cannot be read: unexpected end of data."),
        (b'a,b\n1,"2\n3,4\n', "rows.csv, line 2: a quote is opened and never closed"),
        ("a,b\n".encode("utf-16")[2:-1], "rows.csv, line 1: the header is no text in utf-16-le."),
        (b"a,caf\xe9\n1,2\n", "rows.csv, line 1: the header is no text in utf-8."),
        (b"a,b\0\n1,2\n", "rows.csv, line 1: the header is no text in utf-8."),
        (b"a,b\n1," + b"x" * (5 << 20) + b"\n2,3\n", "rows.csv: a row is longer than 2 MB."),
        (b'a,b\n1,"' + b"x,\n" * (2 << 20), "rows.csv: a row is longer than 2 MB."),
    ],
)
def test_a_file_that_can_mean_anything_is_refused_whole(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    assert problem(source(tmp_path, content)).startswith(expected)


@pytest.mark.parametrize("content", [b"a,b\n", b"a,b", b"a,b\r\n", b"a,b\n\n,\n"])
def test_a_header_without_rows_has_none(tmp_path: Path, content: bytes) -> None:
    assert read(source(tmp_path, content)) == ([], [], [])


def test_ragged_rows_are_rejected_one_by_one_as_they_stood(tmp_path: Path) -> None:
    content = b'a,b\n1,2\nlone\n3,4,5\n"x\ny",6,7\n8,"\xff",9\n10,11\n'
    rows, rejects, faults = read(source(tmp_path, content))
    assert rows == [("1", "2", None), ("10", "11", None)]
    assert [(reject.line, reject.raw) for reject in rejects] == [
        (3, "lone"),
        (4, "3,4,5"),
        (5, '"x\ny",6,7'),
        (7, '8,"\ufdd0<ff at byte 32>",9'),
    ]
    assert faults == []


def test_bytes_that_are_no_text_spoil_their_cell_and_are_told_by_their_place(tmp_path: Path) -> None:
    content = b"a,b\n1,caf\xe9\n2,ok\n\0,x\n4,a\0\xffb\n5,\xed\xa0\x80\n"
    rows, rejects, faults = read(source(tmp_path, content))
    assert rows == [
        ("1", "caf\ufdd0<e9 at byte 9>", None),
        ("2", "ok", None),
        ("\ufdd0<00 at byte 16>", "x", None),
        ("4", "a\ufdd0<00 at byte 23>\ufdd0<ff at byte 24>b", None),
        ("5", "\ufdd0<eda080 at byte 29>", None),
    ]
    assert content[9:10] == b"\xe9"
    assert content[29:32] == b"\xed\xa0\x80"
    assert rejects == []
    assert sorted(faults, key=lambda fault: fault.row) == [
        Fault(0, "b", NOT_UTF8),
        Fault(2, "a", NUL),
        Fault(3, "b", NUL),
        Fault(4, "b", NOT_UTF8),
    ]


def test_places_are_those_of_the_unpacked_file(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,x\n" * 1_000_000 + b"2,\xff\n"
    rows, _, _ = read(source(tmp_path, gzip.compress(content, 1), compression="gz"), batch_rows=100_000)
    assert rows[-1] == ("2", f"\ufdd0<ff at byte {len(content) - 2}>", None)


def test_a_file_that_is_cut_off_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    content = b"a,b\n" + b"".join(b"%d,x%d\n" % (n, n * 7919) for n in range(20_000))
    for compression, packed in (("gz", gzip.compress(content)), ("zst", zstandard.compress(content))):
        for cut in (1, 100, len(packed) // 2, len(packed) - 1):
            file = source(tmp_path, packed[:cut], compression=compression)
            assert "the file is cut off or not what its name says" in problem(file)
        rows, _, _ = read(source(tmp_path, packed + packed, compression=compression), batch_rows=7000)
        assert len(rows) == 40_001, "one file after the other, whose header is then a row"


@pytest.mark.parametrize("line", [b"1," + b"x" * (100 << 20), b'1,"' + b"x" * (100 << 20) + b'"'])
def test_a_line_of_100_mb_is_refused_without_being_held(tmp_path: Path, line: bytes) -> None:
    file = source(tmp_path, b"a,b\n" + line + b"\n")
    tracemalloc.start()
    try:
        assert "a row is longer than" in problem(file)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_what_is_no_text_is_shown_in_the_quarantine_with_its_place(shop: Shop) -> None:
    shop.write("customers.csv", b"id,name,tier\n1,caf\xe9,\n2,Ada\0,gold\n3,ok,gold\nalone\n")
    report = shop.load()
    assert (report.read, report.inserted, report.quarantined + report.rejected) == (4, 1, 3)
    shown = {entry["line"]: (entry["reason"], entry["raw"]) for entry in shop.quarantine()}
    assert shown[2][0] == NOT_UTF8
    assert "<e9 at byte 18>" in json.dumps(shown[2][1])
    assert shown[3][0] == NUL
    assert "<00 at byte 26>" in json.dumps(shown[3][1])
    assert shown[5] == ("1 values where the header has 3", "alone")
