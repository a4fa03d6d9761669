"""What transforms make of columns of text, and which declarations are refused."""

import hashlib
import hmac
import os
import subprocess
import sys
from typing import Any

import pyarrow as arrow
import pyarrow.compute as compute
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import (
    Catalog,
    Clean,
    Column,
    Compute,
    Dataset,
    Default,
    Derive,
    Drop,
    ForeignKey,
    Hash,
    Length,
    Lookup,
    MapValues,
    Mask,
    Number,
    Order,
    Split,
    Transform,
    Upcast,
)
from tenant_ops.datasets.frames import Fault
from tenant_ops.datasets.lineage import Origin, lineage, privacy_of
from tenant_ops.datasets.transforming import transform
from tenant_ops.datasets.transforms import spelled
from tenant_ops.platform.errors import InputError

quick = settings(max_examples=100, deadline=None)
COLUMNS = (
    Column("id", "integer"),
    Column("a", "text", nullable=True, source="A a", privacy="email"),
    Column("b", "text"),
    Column("c", "text", default="'x'"),
    Column("n", "numeric", nullable=True),
    Column("other_id", "integer", nullable=True),
)
OTHERS = Dataset(
    "others",
    "",
    (Column("id", "integer"), Column("name", "text"), Column("code", "text", unique=True, privacy="name")),
    ("id",),
    unique=(("name", "code"),),
)


def things(*transforms: Transform, **options: Any) -> Dataset:
    references = (ForeignKey(("other_id",), "others", ("id",)),)
    return Dataset("things", "", COLUMNS, ("id",), references, transforms=transforms, **options)


def run(*transforms: Transform, key: bytes = b"k", **columns: list[str | None]) -> dict[str, list[Any]]:
    """What columns become; faults under `faults`."""
    rows = len(next(iter(columns.values())))
    arrays = {name: arrow.array(values, arrow.string()) for name, values in columns.items()}
    made = transform(things(*transforms), arrays, rows, key)
    return {**{name: column.to_pylist() for name, column in made.columns.items()}, "faults": made.faults}


def test_text_is_cleaned_as_told() -> None:
    assert run(Clean("a"), a=[" X ", "\u00a0y\t", "", None])["a"] == ["X", "y", "", None]
    assert run(Clean("a", strip=False, lower=True), a=[" ÄX "])["a"] == [" äx "]
    assert run(Clean("A a", empty_as_null=True), a=["  ", "x"])["a"] == [None, "x"]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1.234.567,89", "1234567.89"),
        ("1234567,89", "1234567.89"),
        ("-0,5", "-0.5"),
        (",5", ".5"),
        ("+7", "+7"),
        ("1,", "1."),
        ("12,5e3", "12.5e3"),
        ("1.234", "1234"),
        ("1.23", None),
        ("1234.567,8", None),
        ("1,2,3", None),
        ("12 345", None),
        ("", None),
        ("x", None),
    ],
)
def test_numbers_written_in_another_way_are_read_or_refused(value: str, number: str | None) -> None:
    made = run(Number("n"), n=[value])
    assert made["n"] == [number]
    assert bool(made["faults"]) == (number is None)


@quick
@given(
    st.decimals(-(10**12), 10**12, places=4),
    st.sampled_from([(",", "."), (",", " "), (".", ","), (",", "'")]),
)
def test_a_number_that_was_grouped_is_the_same_number(number: Any, signs: tuple[str, str]) -> None:
    decimal, thousands = signs
    written = f"{number:,.4f}".translate(str.maketrans({",": thousands, ".": decimal}))
    made = run(Number("n", decimal, thousands), n=[written])
    assert made["faults"] == []
    assert made["n"] == [f"{number:.4f}"]


def test_values_are_mapped_and_the_others_kept_emptied_or_refused() -> None:
    mapping = {"a": "A", "none": None}
    values = ["a", "none", "z", None]
    assert run(MapValues("b", mapping), b=values)["b"] == ["A", None, "z", None]
    assert run(MapValues("b", mapping, "null"), b=values)["b"] == ["A", None, None, None]
    refused = run(MapValues("b", mapping, "refuse"), b=values)
    assert refused["b"] == ["A", None, None, None]
    assert refused["faults"] == [Fault(2, "b", "not one of the values there is a mapping for")]


def test_defaults_fill_what_is_empty_or_not_there() -> None:
    assert run(Default("b", "none"), b=["x", None, ""])["b"] == ["x", "none", ""]
    assert run(Default("b", "none"), id=["1", "2"])["b"] == ["none", "none"]


def test_a_derived_value_needs_all_its_parts_and_leaves_a_given_one_where_it_has_not() -> None:
    made = run(
        Derive("b", "{{{first}}} {last}!"),
        first=["Ada", None, "Eve"],
        last=["Roe", "Doe", None],
        b=["x", "y", None],
    )
    assert made["b"] == ["{Ada} Roe!", "y", None]
    assert "b" not in run(Derive("b", "{first}-{last}"), first=["Ada"])


def test_columns_are_split_into_others() -> None:
    into = ("b", "c")
    made = run(Split("full", into), full=["Ada Maria Roe", "Bob", "", None])
    assert (made["b"], made["c"]) == (["Ada", "Bob", "", None], ["Maria Roe", None, None, None])
    assert run(Split("full", into, by="::"), full=["x::y::z"])["c"] == ["y::z"]
    exact = run(Split("full", into, exact=True), full=["Bob", "Ada Roe", None])
    assert exact["faults"] == [Fault(0, "full", "fewer than 2 parts between ' '")]
    given = run(Split("full", into), full=[None, "Ada Roe"], b=["given", "lost"])
    assert given["b"] == ["given", "Ada"]
    sliced = transform(
        things(Split("full", into)), {"full": arrow.array(["x y", "Ada Roe", None])[1:]}, 2, b""
    ).columns
    assert sliced["c"].to_pylist() == ["Roe", None]


def upper(text: arrow.Array) -> arrow.Array:
    return compute.utf8_upper(text)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_function_makes_a_column_of_others() -> None:
    assert run(Compute("b", ("x",), upper), x=["a", None])["b"] == ["A", None]
    assert "b" not in run(Compute("b", ("x",), upper), id=["1"])
    lengths = Compute("b", ("x", "y"), lambda x, y: compute.utf8_length(y))  # pyright: ignore[reportAttributeAccessIssue]
    assert run(lengths, x=["a"])["b"] == [None]
    assert run(lengths, y=["abc"])["b"] == ["3"]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda x: x[:0], "did not return 1 values"),
        (lambda x: None, "did not return 1 values"),
        (lambda x: 1 / 0, "failed: division by zero"),
    ],
)
def test_a_function_that_does_not_work_is_named_by_its_column(function: Any, problem: str) -> None:
    with pytest.raises(InputError, match=rf"dataset things, column b: .*{problem}"):
        run(Compute("b", ("x",), function), x=["a"])


@quick
@given(st.lists(st.none() | st.text(), min_size=1), st.binary(min_size=1))
def test_a_hash_is_the_keyed_hash_of_the_text_and_nothing_else(values: list[str | None], key: bytes) -> None:
    hashed = [value and hmac.new(key, value.encode(), hashlib.sha256).hexdigest() for value in values]
    empty = hmac.new(key, b"", hashlib.sha256).hexdigest()
    assert run(Hash("a"), a=values, key=key)["a"] == [empty if each == "" else each for each in hashed]


def test_a_mask_is_that_of_the_columns_privacy_or_the_one_that_is_named() -> None:
    values = ["eve@example.org", None]
    assert run(Mask("a"), a=values)["a"] == ["e***@e***.org", None]
    assert run(Mask("A a", "secret"), a=values)["a"] == ["***", None]
    assert run(Mask("b", "phone"), b=["+49 30 1234567"])["b"] == ["***67"]


def test_transforms_are_applied_in_their_order_and_may_use_what_others_made() -> None:
    made = run(
        Clean("full"),
        Split("full", ("first", "b")),
        Derive("c", "{b}, {first}"),
        full=["  Ada Roe "],
    )
    assert made["c"] == ["Roe, Ada"]


def test_a_dataset_says_what_sources_may_and_must_have() -> None:
    dataset = things(Split("full", ("b", "c")), Clean("A a"), Drop("junk"), Hash("b"))
    assert dataset.reads == {
        "id": "id",
        "A a": "a",
        "b": "b",
        "c": "c",
        "n": "n",
        "other_id": "other_id",
        "full": "full",
        "junk": "junk",
    }
    assert dataset.required == {"id"}
    assert dataset.tenant_dependent
    assert dataset.rewritten == ("a", "b", "c", "full", "junk")
    assert dataset.lacking(["id", "junk"]) == ("b",)
    assert dataset.lacking(["id", "full"]) == dataset.lacking(["id", "b"]) == ()
    assert things().required == {"id", "b"}
    assert things().rewritten == ()


REFUSED: list[tuple[Transform, str]] = [
    (Clean("A"), "it makes A, which is no column of the dataset and not used afterwards"),
    (Derive("z", "{b}"), "it makes z"),
    (Split("full", ("b",)), "two or more different columns"),
    (Split("full", ("b", "b")), "two or more different columns"),
    (Split("full", ("b", "c"), by=""), "a text between them"),
    (Number("n", ".", "."), "two different signs"),
    (Number("n", ",", "1"), "no digits"),
    (Number("n", "", "."), "two different signs"),
    (Derive("b", "constant"), "the template holds names of columns"),
    (Derive("b", "{}"), "the template holds names of columns"),
    (Derive("b", "{x:>5}"), "the template holds names of columns"),
    (Compute("b", (), upper), "it has no inputs"),
    (Hash("n"), "it makes text, and n is numeric"),
    (Mask("b"), "which kind of personal data is masked"),
    (Drop("A a"), "a column of the dataset cannot be passed over"),
    (Derive("b", "{" + "x" * 49 + "}"), "is too long for an input"),
    (Lookup("b", "others", {"code": "x"}), "b is no foreign key of one column to others"),
    (Lookup("nothing", "others", {"code": "x"}), "it makes nothing"),
    (Lookup("other_id", "elsewhere", {"code": "x"}), "no foreign key of one column to elsewhere"),
    (Lookup("other_id", "others", {}), "what rows are looked up by"),
    (Lookup("other_id", "things", {"b": "x"}), "rows of the dataset itself cannot be looked up"),
]


@pytest.mark.parametrize(
    ("declared", "problem"), REFUSED, ids=[f"{type(each).__name__}: {why}" for each, why in REFUSED]
)
def test_a_transform_that_cannot_work_is_refused_with_its_dataset(declared: Transform, problem: str) -> None:
    with pytest.raises(InputError, match=r"dataset 'things', transform 1 \(") as error:
        things(declared)
    assert problem in str(error.value)


def test_a_template_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InputError, match=r"column b: the template '\{x' cannot be read"):
        Derive("b", "{x")


def test_a_looked_up_column_is_used_by_nothing_that_comes_before_it_is_known() -> None:
    lookup = Lookup("other_id", "others", {"code": "x"})
    with pytest.raises(InputError, match="no transform can use it"):
        things(lookup, Derive("b", "{other_id}"))
    with pytest.raises(InputError, match="would be checked before it is looked up"):
        things(lookup, orders=(Order("other_id", "id"),))
    ruled = (COLUMNS[0], Column("other_id", "integer", rules=(Length(1),)))
    with pytest.raises(InputError, match="would be checked before it is looked up"):
        Dataset(
            "t", "", ruled, ("id",), (ForeignKey(("other_id",), "others", ("id",)),), transforms=(lookup,)
        )


@pytest.mark.parametrize(
    ("by", "problem"),
    [({"nothing": "x"}, r"others has no columns \['nothing'\]"), ({"name": "x"}, "many rows with one name")],
)
def test_a_catalog_refuses_lookups_by_what_is_not_unique(by: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Catalog("c", "1.0.0", (things(Lookup("other_id", "others", by)), OTHERS))
    for fine in ({"id": "x"}, {"code": "x"}, {"code": "x", "name": "y"}):
        Catalog("c", "1.0.0", (things(Lookup("other_id", "others", fine)), OTHERS))


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (Column("x", "text", formats=("%Y-%m-%d",)), "a text has neither formats nor a zone"),
        (Column("x", "date", zone="Europe/Berlin"), "a date has neither formats nor a zone"),
        (Column("x", "date", formats=("%d.%m",)), "does not say which day it is"),
        (Column("x", "date", formats=("epoch_s",)), "epoch_s is a moment, not a date"),
        (Column("x", "timestamptz", zone="Mars/Base"), "there is no time zone 'Mars/Base'"),
    ],
)
def test_formats_and_zones_that_cannot_be_used_are_refused(column: Column, problem: str) -> None:
    with pytest.raises(InputError, match=rf"dataset 't', column x: .*{problem}"):
        Dataset("t", "", (COLUMNS[0], column), ("id",))


def upcast(version: str, dataset: str = "things", *transforms: Transform) -> Upcast:
    return Upcast(version, dataset, transforms or (Derive("b", "{old}"),))


def test_files_go_through_the_upcasts_since_their_version_in_order() -> None:
    first, second = upcast("1.9.0"), upcast("1.10.0", "things", Clean("b"), Drop("gone"))
    catalog = Catalog(
        "c", "2.0.0", (things(Clean("c")), OTHERS), (first, second, upcast("1.10.0", "others", Drop("z")))
    )
    assert catalog.upcasts_since("things", "1.0.0") == ("1.9.0", "1.10.0")
    assert catalog.upcasts_since("things", "1.9.0") == catalog.upcasts_since("things", "1.9.5") == ("1.10.0",)
    assert catalog.upcasts_since("things", "2.0.0") == ()
    incoming = catalog.incoming("things", ("1.9.0", "1.10.0"))
    assert incoming.transforms == (*first.transforms, *second.transforms, Clean("c"))
    assert catalog.incoming("things") is catalog["things"]
    assert "gone" in incoming.reads
    assert "b" not in incoming.required


@pytest.mark.parametrize(
    ("upcasts", "problem"),
    [
        ((upcast("1.2.0"), upcast("1.1.0")), "upcast to 1.1.0 of things: another of this or a later version"),
        ((upcast("1.1.0"), upcast("1.1.0")), "another of this or a later version"),
        ((upcast("3.0.0"),), "the catalog is only at version 2.0.0"),
        ((upcast("1.1.0", "nothing"),), "there is no dataset 'nothing'"),
        ((upcast("1.1.0", "things", Derive("z", "{b}")),), "it makes z"),
    ],
)
def test_upcasts_that_cannot_work_are_refused(upcasts: tuple[Upcast, ...], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Catalog("c", "2.0.0", (things(), OTHERS), upcasts)


def test_columns_lead_back_to_what_they_are_made_of() -> None:
    dataset = things(
        Clean("full"),
        Split("full", ("first", "b")),
        Derive("c", "{b}-{first}-{x}"),
        Default("n", "0"),
        Lookup("other_id", "others", {"code": "which"}),
    )
    bound = Catalog("c", "1.0.0", (dataset, OTHERS))["things"]
    assert lineage(bound) == {
        "id": Origin(("id",)),
        "a": Origin(("A a",)),
        "b": Origin(("full",)),
        "c": Origin(("full", "x")),
        "n": Origin(("n",)),
        "other_id": Origin(("which",), "others", ("id", "code")),
    }
    assert privacy_of(bound, "a") == "email"
    assert privacy_of(bound, "which") == "name", "as private as what it is compared with"
    assert privacy_of(bound, "full") is None
    assert privacy_of(bound, "nobody") == "secret"
    assert privacy_of(things(Derive("a", "{mail}")), "mail") == "email"
    assert privacy_of(things(Hash("mail"), Derive("b", "{mail}")), "mail") == "secret"


PROGRAM = """
from tenant_ops.datasets import Compute, MapValues, Hash
from tenant_ops.datasets.transforms import spelled
def function(text):
    return text if text in {"a", "b", "c", "d"} else None
print(spelled((Compute("b", ("x",), function), MapValues("b", {"y": "1", "x": None}), Hash("a"))))
"""


def test_transforms_are_spelled_alike_in_every_process_and_unlike_when_they_differ() -> None:
    spellings = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(spellings) == 1
    same = Compute("b", ("x",), lambda x: x)
    different = [
        Compute("b", ("x",), upper),
        same,
        Compute("b", ("x",), lambda x: x[:1]),
        Compute("b", ("y",), same.function),
        MapValues("b", {"a": "b"}),
        MapValues("b", {"a": "c"}),
        MapValues("b", {"a": "b"}, "null"),
        Hash("b"),
        Hash("a"),
    ]
    assert len({spelled((each,)) for each in different}) == len(different)
    assert spelled((MapValues("b", {"a": "1", "b": "2"}),)) == spelled(
        (MapValues("b", {"b": "2", "a": "1"}),)
    )
