"""Reading CSV: what is a row, where it begins, and what makes a file unusable."""

import csv
import io
from collections.abc import Iterator

import pyarrow as arrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import Column, Dataset
from tenant_ops.loading.sources.batch import NOT_UTF8, Batch, Reject
from tenant_ops.loading.sources.columns import Columns
from tenant_ops.loading.sources.csv_files import LONGEST_CSV_ROW, read_csv
from tenant_ops.loading.sources.streams import TextStream
from tenant_ops.platform.errors import InputError

PAIRS = Dataset("pairs", "", (Column("a", "text"), Column("b", "text", nullable=True)), ("a",))
SINGLES = Dataset("singles", "", (Column("a", "text"),), ("a",))


def batches(
    content: str | bytes,
    dataset: Dataset = PAIRS,
    *,
    batch_rows: int = 1000,
    delimiter: str = ",",
    unknown: str = "strict",
) -> Iterator[Batch]:
    data = content if isinstance(content, bytes) else content.encode()
    stream = TextStream(io.BytesIO(data), "pairs.csv")
    columns = Columns(dataset, "pairs.csv", unknown)
    return read_csv(stream, columns, delimiter=delimiter, batch_rows=batch_rows)


def read(
    content: str | bytes, **options: object
) -> tuple[list[tuple[int, str | None, str | None]], list[Reject]]:
    """Good rows with their lines, and the others."""
    rows: list[tuple[int, str | None, str | None]] = []
    rejects: list[Reject] = []
    for batch in batches(content, **options):  # pyright: ignore[reportArgumentType]
        none = arrow.nulls(len(batch.lines), arrow.string())
        columns = [batch.columns.get(name, none).to_pylist() for name in ("a", "b")]
        rows += zip(batch.lines.to_pylist(), *columns, strict=True)
        rejects += batch.rejects
    return rows, rejects


def problem(content: str | bytes, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        read(content, **options)
    return str(caught.value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\ufdd0"), max_size=8)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(TEXTS.filter(bool), TEXTS | st.just('say "hi"\nand go')), max_size=12),
    st.integers(1, 5),
    st.sampled_from(["\n", "\r\n"]),
)
@example([("x", "1\n2\n\n3"), ("y", "")], 1, "\r\n")
def test_what_a_csv_writer_wrote_is_read_with_the_lines_it_is_on(
    pairs: list[tuple[str, str]], batch_rows: int, line_end: str
) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL, lineterminator=line_end)
    writer.writerow(("a", "b"))
    expected = []
    for pair in pairs:
        expected.append((sink.getvalue().count("\n") + 1, *pair))
        writer.writerow(pair)
    assert read(sink.getvalue(), batch_rows=batch_rows) == (expected, [])


def test_an_unquoted_empty_value_is_null_and_a_quoted_one_is_text() -> None:
    assert read('a,b\nx,\ny,""\n')[0] == [(2, "x", None), (3, "y", "")]


def test_rows_of_the_wrong_length_are_rejected_where_they_stand() -> None:
    content = 'a,b\n1,"x\ny"\nalone\n2,x\nfar,too,"ma\nny"\n\n3,x\nlast\n'
    for batch_rows in (1, 2, 100):
        rows, rejects = read(content, batch_rows=batch_rows)
        assert rows == [(2, "1", "x\ny"), (5, "2", "x"), (9, "3", "x")]
        assert rejects == [
            Reject(4, "1 values where the header has 2", "alone"),
            Reject(6, "3 values where the header has 2", 'far,too,"ma\nny"'),
            Reject(10, "1 values where the header has 2", "last"),
        ]


def test_a_file_of_nothing_but_bad_rows_is_still_counted() -> None:
    assert read("a,b\n1\n2\n") == (
        [],
        [
            Reject(2, "1 values where the header has 2", "1"),
            Reject(3, "1 values where the header has 2", "2"),
        ],
    )


def test_blank_lines_are_passed_over_but_counted() -> None:
    assert read("a,b\n\n1,x\n,\n\n2,x\n\n")[0] == [(3, "1", "x"), (6, "2", "x")]
    assert read("a\n\n1\n\n", dataset=SINGLES)[0] == [(3, "1", None)]


def test_line_numbers_hold_across_blocks_and_rejects() -> None:
    count = 3 * LONGEST_CSV_ROW // 100
    lines = [f"{number},{'x' * 90}" if number % 1000 else f"{number}" for number in range(1, count)]
    rows, rejects = read("a,b\n" + "\n".join(lines), batch_rows=7_000)
    assert all(line == int(a or 0) + 1 for line, a, _ in rows)
    assert [reject.line for reject in rejects] == [
        number + 1 for number in range(1, count) if number % 1000 == 0
    ]
    assert len(rows) + len(rejects) == count - 1


@pytest.mark.parametrize("before", [0, 1_000, 200_000, 300_000])
def test_a_row_of_nearly_two_megabytes_comes_whole_wherever_it_begins(before: int) -> None:
    long = 'say "x"\n' * (LONGEST_CSV_ROW // 11)
    doubled = long.replace('"', '""')
    small = [f"{number},{'x' * 90}\n" for number in range(before // 100)]
    rows, _ = read(f'a,b\n{"".join(small)}0,"{doubled}"\n1,y\n')
    assert [row[1:] for row in rows[-2:]] == [("0", long), ("1", "y")]
    assert len(rows) == len(small) + 2


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    assert read(b"\xef\xbb\xbfa,b\n1,2\n")[0] == [(2, "1", "2")]


def test_bytes_that_are_not_utf8_spoil_only_their_cell() -> None:
    (batch,) = batches(b"a,b\n1,caf\xe9\n2,caf\xc3\xa9\n\xff,3\n")
    assert [(fault.row, fault.column, fault.reason) for fault in batch.faults] == [
        (2, "a", NOT_UTF8),
        (0, "b", NOT_UTF8),
    ]
    assert batch.columns["b"][1].as_py() == "café"


def test_bytes_that_are_not_utf8_in_a_row_of_the_wrong_length_spoil_only_the_row() -> None:
    rows, rejects = read(b"a,b\n\xff,1,2\n3,4\n")
    assert rows == [(3, "3", "4")]
    assert [reject.line for reject in rejects] == [2]


def test_columns_may_stand_in_any_order_and_be_left_out() -> None:
    assert read("b,a\nx,1\n")[0] == [(2, "1", "x")]
    assert read("a\n1\n")[0] == [(2, "1", None)]


def test_unknown_columns_are_refused_or_ignored_as_told() -> None:
    assert problem("a,secret\n1,2\n").startswith("pairs.csv, line 1, column 2: pairs has no column 'secret'.")
    assert read('a,secret,b\n1,"2\n",3\n4,5,6\n', unknown="ignore")[0] == [(2, "1", "3"), (4, "4", "6")]


def test_tabs_separate_the_values_of_a_tsv_file() -> None:
    assert read("a\tb\n1,5\t2\n", delimiter="\t")[0] == [(2, "1,5", "2")]


def test_a_stray_quote_inside_a_value_is_just_a_character() -> None:
    assert read('a,b\n5" disk,x\n2,"two\nlines"\n')[0] == [(2, '5" disk', "x"), (3, "2", "two\nlines")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "pairs.csv: the file is empty."),
        ("\n\n", "pairs.csv: the file is empty."),
        ("\na,b\n", "pairs.csv: the first line is empty."),
        ("b\n1\n", "pairs.csv, line 1: the columns a of pairs are missing."),
        ("a,b,a\n", "pairs.csv, line 1, column 3: the column 'a' is there twice."),
        ("a,\n", "pairs.csv, line 1, column 2: the column has no name."),
        ("A,B\n", "pairs.csv, line 1, column 1: pairs has no column 'A'."),
        ("a;b\n1;2\n", "pairs.csv, line 1: the header has one column, 'a;b', which looks separated by ';'."),
        ('a,"b\n', "pairs.csv, line 1: the header cannot be read: unexpected end of data."),
        ('a,b\n1,2\n3,"4\n5,6\n', "pairs.csv, line 3: a quote is opened and never closed"),
        ('a,b\n1,2\n"3,4\n5,6\n', "pairs.csv, line 3: a quote is opened and never closed"),
        (b"a,b\xff\n", "pairs.csv, line 1: the header is no text in utf-8."),
        (f"a,b\n1,{'x' * (2 * LONGEST_CSV_ROW)}\n2,3\n", "pairs.csv: a row is longer than 2 MB."),
        ('a,b\n1,"' + "x\n" * LONGEST_CSV_ROW, "pairs.csv: a row is longer than 2 MB."),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(content: str | bytes, expected: str) -> None:
    assert problem(content).startswith(expected)


def test_a_header_without_rows_is_an_empty_file() -> None:
    assert read("a,b\n") == ([], [])
    assert read("a,b") == ([], [])


def test_columns_that_are_passed_over_or_missing_are_told_with_samples() -> None:
    content = "x,a,y\n" + "".join(f"{number},k{number},\n" for number in range(30)) + "z,k30,late\n"
    data = io.BytesIO(content.encode())
    columns = Columns(PAIRS, "pairs.csv", "evolve")
    for _ in read_csv(TextStream(data, "pairs.csv"), columns, delimiter=None, batch_rows=7):
        pass
    assert columns.samples == {"x": [str(number) for number in range(20)], "y": ["late"]}
    assert [(drifted.column, drifted.kind) for drifted in columns.drift] == [
        ("x", "unknown"),
        ("y", "unknown"),
        ("b", "missing"),
    ]


def test_columns_in_another_order_are_no_drift() -> None:
    columns = Columns(PAIRS, "pairs.csv", "strict")
    list(read_csv(TextStream(io.BytesIO(b"b,a\nx,1\n"), "x"), columns, delimiter=None, batch_rows=7))
    assert columns.drift == ()
