"""What a dataset and a catalog may say, and what they refuse."""

import pytest

from tenant_ops.datasets import MUSIC, Between, Catalog, Column, Dataset, ForeignKey, Length, Order, Retention
from tenant_ops.platform.errors import InputError


def dataset(name: str, *references: str, **options: object) -> Dataset:
    columns = (Column("id", "integer"), *(Column(f"{other}_id", "integer") for other in references))
    keys = tuple(ForeignKey((f"{other}_id",), other, ("id",)) for other in references)
    return Dataset(name, "", columns, ("id",), keys, **options)  # pyright: ignore[reportArgumentType]


def test_a_catalog_goes_from_what_is_referred_to_to_what_refers() -> None:
    catalog = Catalog(
        "c",
        "1",
        (
            dataset("lines", "orders", "goods"),
            dataset("orders", "people"),
            dataset("goods"),
            dataset("people"),
        ),
    )
    names = catalog.names
    assert names.index("people") < names.index("orders") < names.index("lines")
    assert names.index("goods") < names.index("lines")
    assert [each.name for each in catalog] == list(names)
    assert len(catalog) == 4


def test_a_dataset_may_refer_to_itself() -> None:
    assert Catalog("c", "1", (dataset("people", "people"),)).names == ("people",)


@pytest.mark.parametrize(
    ("datasets", "problem"),
    [
        ((dataset("a"), dataset("a")), "two datasets share a name"),
        ((dataset("a", "b"),), r"refers to b\('id',\), which does not exist"),
        ((dataset("a", "b"), dataset("b", "a")), "foreign keys form a circle"),
    ],
)
def test_a_catalog_that_cannot_be_built_is_refused(datasets: tuple[Dataset, ...], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Catalog("c", "1", datasets)


def test_datasets_are_chosen_by_name_and_stay_in_order() -> None:
    chosen = MUSIC.select(["tracks", "artists", "tracks"])
    assert [each.name for each in chosen] == ["artists", "tracks"]
    assert MUSIC.select(None) == MUSIC.select([]) == tuple(MUSIC)
    assert "tracks" in MUSIC
    assert "nothing" not in MUSIC
    with pytest.raises(InputError, match=r"there is no dataset 'trakcs'.*tracks"):
        MUSIC.select(["trakcs"])


@pytest.mark.parametrize("name", ["", "Users", "1st", "a-b", 'a"b', "a b", "x" * 49, "täst"])
def test_a_name_that_is_no_plain_identifier_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a usable name"):
        Dataset(name, "", (Column("id", "integer"),), ("id",))
    with pytest.raises(InputError, match="is not a usable name"):
        Dataset("fine", "", (Column(name, "integer"),), (name,))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"key": ()}, "no primary key"),
        ({"key": ("other",)}, r"unknown columns \['other'\]"),
        ({"unique": (("other",),)}, r"unknown columns \['other'\]"),
        ({"indexes": (("id", "other"),)}, r"unknown columns \['other'\]"),
        ({"orders": (Order("id", "other"),)}, r"unknown columns \['other'\]"),
        ({"retention": Retention("other", 5)}, r"unknown columns \['other'\]"),
        ({"columns": (Column("id", "integer"), Column("id", "text"))}, r"named twice: \['id'\]"),
    ],
)
def test_a_dataset_that_contradicts_itself_is_refused(options: dict[str, object], problem: str) -> None:
    parts: dict[str, object] = {"columns": (Column("id", "integer"),), "key": ("id",), **options}
    with pytest.raises(InputError, match=problem):
        Dataset("things", "", **parts)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "rule", [lambda: Between(), lambda: Length(), lambda: Between(2, 1), lambda: Length(5, 4)]
)
def test_a_rule_that_allows_everything_or_nothing_is_refused(rule: object) -> None:
    with pytest.raises(InputError, match=r"the rule allows (everything|nothing)"):
        rule()  # pyright: ignore[reportCallIssue]


def test_source_names_default_to_the_own_ones() -> None:
    plain, renamed = dataset("orders"), dataset("orders", source="Order")
    assert (plain.source_name, renamed.source_name) == ("orders", "Order")
    assert (Column("a", "text").source_name, Column("a", "text", source="A a").source_name) == ("a", "A a")


def test_the_shipped_catalog_marks_personal_data() -> None:
    marked = {f"{each.name}.{name}" for each in MUSIC for name in each.private_columns}
    assert marked >= {"users.email", "users.display_name", "sessions.ip_address", "ai_messages.body"}
    assert not [name for name in marked if name.endswith("_id")]


def test_at_least_ten_datasets_are_shipped_each_described() -> None:
    assert len(MUSIC) >= 10
    assert all(each.description and all(column.description for column in each.columns) for each in MUSIC)
