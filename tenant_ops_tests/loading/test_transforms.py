"""Declared transforms, from a file to the live table, and back out of quarantine."""

import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tenant_ops.datasets import Catalog, Clean
from tenant_ops.loading import ConflictStrategy, Drift
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.gallery import GALLERY, PEOPLE, PICTURES, VISITORS
from tenant_ops_tests.loading.shop import Shop

ARTISTS = 'id,name,country,Born\n1,  Ada ,FR,24.12.1901\n2,Bob,,"June 5, 1910"\n3,Cem,tr,1920-01-31\n'
HEADER = "house,number,painter,title,Price,state,shown_at,owner,owner_email,owner_phone,remarks\n"
SUN = 'N,1,Ada ,Sun,"1.234,5",ok,05/06/2024 10:00,Eve Roe,eve@x.org,+49 30 1234567,hm\n'


@pytest.fixture
def open_shop(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Opens a shop with any catalog."""
    fleets: list[Fleet] = []

    def open_(catalog: Catalog, slug: str = "acme") -> Shop:
        fleet = Fleet.open(settings, catalog=catalog)
        fleets.append(fleet)
        provision(fleet, slug)
        folder = tmp_path / slug
        folder.mkdir()
        return Shop(fleet, fleet.registry.get(slug), folder)

    yield open_
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def gallery(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(GALLERY)


def test_every_transform_does_its_work_before_types_and_rules_are_checked(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    gallery.write("pictures.csv", HEADER + SUN)
    report = gallery.load()
    assert (report.inserted, report.quarantined) == (4, 0), gallery.faults()
    assert gallery.rows("artists") == [
        (1, "Ada", "fr", dt.date(1901, 12, 24)),
        (2, "Bob", None, dt.date(1910, 6, 5)),
        (3, "Cem", "tr", dt.date(1920, 1, 31)),
    ]
    key = gallery.fleet.column_key(gallery.tenant)
    assert gallery.rows("pictures") == [
        (
            "N-1",
            1,
            "Sun",
            Decimal("1234.5"),
            "sound",
            dt.datetime(2024, 6, 5, 8, tzinfo=dt.UTC),
            "Eve",
            "Roe",
            "ER",
            hmac.new(key, b"eve@x.org", hashlib.sha256).hexdigest(),
            "***67",
        )
    ]


def test_equal_values_are_hashed_alike_within_a_tenant_and_differently_in_another(
    open_shop: Callable[..., Shop],
) -> None:
    hashed: dict[str, set[str]] = {}
    for slug in ("acme", "other"):
        shop = open_shop(GALLERY, slug)
        shop.write("artists.csv", ARTISTS)
        shop.write("pictures.1.csv", HEADER + SUN)
        shop.write("pictures.2.csv", HEADER + SUN.replace("N,1", "N,2"))
        shop.load()
        hashed[slug] = {row[0] for row in shop.rows("pictures", "owner_email")}
        assert len(hashed[slug]) == 1
    assert hashed["acme"] != hashed["other"]


def test_a_row_that_cannot_be_transformed_is_quarantined_as_it_was_read(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    gallery.write(
        "pictures.csv",
        HEADER
        + 'N,1,Ada,Sun,"12.34,5",ok,,Eve Roe,,,\n'
        + "N,2,Ada,Moon,,odd,,Eve Roe,,,\n"
        + "N,3,Ada,Sea,,,,Eve,,,\n"
        + "N,4,Ada,Sky,,,31/03/2024 02:30,Eve Roe,,,\n"
        + "N,5,Ada,Wood,,,27/10/2024 02:30,Eve Roe,,,\n"
        + "N,6,Ada,,,?,30/02/2024 10:00,Eve Roe,,,\n",
    )
    report = gallery.load()
    assert (report.inserted, report.quarantined) == (3, 6)
    assert [(entry["line"], entry["column_name"], entry["reason"]) for entry in gallery.quarantine()] == [
        (2, "price", "not a number with ',' before decimals and '.' between thousands"),
        (3, "state", "not one of the values there is a mapping for"),
        (4, "owner", "fewer than 2 parts between ' '"),
        (5, "shown_at", "no such time in Europe/Berlin, where clocks were put forward"),
        (6, "shown_at", "two such times in Europe/Berlin, where clocks were put back"),
        (7, "shown_at", "not a timestamp written as %d/%m/%Y %H:%M or iso"),
        (7, "title", "empty, but required"),
    ]
    assert gallery.quarantine()[0]["raw"] == {
        "house": "N",
        "number": "1",
        "painter": "Ada",
        "title": "Sun",
        "Price": "12.34,5",
        "state": "ok",
        "shown_at": None,
        "owner": "Eve Roe",
        "owner_email": None,
        "owner_phone": None,
        "remarks": None,
    }


def test_a_lookup_that_finds_nothing_quarantines_its_row_as_it_was_read(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    gallery.write("pictures.csv", HEADER + SUN + SUN.replace("N,1,Ada ", "N,2,Zoe"))
    report = gallery.load()
    assert (report.inserted, report.quarantined) == (4, 1)
    [entry] = gallery.quarantine()
    assert (entry["check_name"], entry["line"], entry["column_name"]) == ("references", 3, "painter")
    assert entry["reason"] == "no row of artists has this name"
    assert entry["value"] == "Z***", "masked as what it is compared with"
    raw = entry["raw"]
    assert (raw["painter"], raw["Price"], raw["owner_email"]) == ("Zoe", "1.234,5", "eve@x.org")
    assert (raw["house"], raw["owner"], raw["shown_at"]) == ("N", "Eve Roe", "05/06/2024 10:00")
    again = gallery.ndjson("again.ndjson", [{**raw, "painter": "Cem"}])
    gallery.load(source=again, datasets=["pictures"])
    [first, second] = gallery.rows("pictures", "id artist_id price owner_email")
    assert second == ("N-2", 3, *first[2:])


def test_a_replayed_row_is_transformed_once_from_what_was_read(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    gallery.write("pictures.csv", HEADER + SUN + SUN.replace("N,1,Ada ", "N,2,Zoe"))
    gallery.load()
    with gallery.fleet.session(gallery.tenant) as connection:
        connection.execute("INSERT INTO artists (id, name) VALUES (9, 'Zoe')")
    report = gallery.load(source=None, replay=True)
    assert (report.inserted, report.quarantined) == (1, 0), gallery.faults()
    [first, second] = gallery.rows("pictures")
    assert second == ("N-2", 9, *first[2:])
    assert gallery.quarantine() == []


def test_what_is_looked_up_may_come_between_two_merges(gallery: Shop) -> None:
    gallery.write("artists.csv", "id,name\n1,Ada\n")
    gallery.write("pictures.csv", HEADER + SUN + SUN.replace("N,1,Ada ", "N,2,Zoe"))
    for dataset in ("artists", "pictures"):
        gallery.stage(dataset)
    gallery.merge("artists")
    with pytest.raises(OperationFailed, match="more than the 0 rows allowed"):
        gallery.merge("pictures", max_bad_rows=0)
    with gallery.fleet.session(gallery.tenant) as connection:
        connection.execute("INSERT INTO artists (id, name) VALUES (9, 'Zoe')")
    merged = gallery.merge("pictures", max_bad_rows=0)
    assert (merged.inserted, merged.quarantined) == (2, 0)
    assert gallery.rows("pictures", "artist_id") == [(1,), (9,)]


def test_a_key_that_was_given_stays_where_there_is_nothing_to_look_up(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    header = "id,artist_id,painter,title,state,owner_first\n"
    gallery.write(
        "pictures.csv", header + "a,2,,Sun,,Eve\nb,2,Cem,Moon,ok,Eve\nc,,,Sea,ok,Eve\nd,7,,Sky,ok,Eve\n"
    )
    assert gallery.load().quarantined == 1
    assert gallery.rows("pictures", "id artist_id state") == [
        ("a", 2, "unknown"),
        ("b", 3, "sound"),
        ("c", None, "sound"),
    ]
    assert gallery.faults() == [("pictures.csv", 5, "artist_id", "7", "no row of artists has this id")]
    assert gallery.quarantine()[0]["raw"]["artist_id"] == "7"


def test_lookups_are_made_even_when_rules_are_not_checked(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    gallery.write("pictures.csv", HEADER + SUN + SUN.replace("N,1,Ada ", "N,2,Zoe"))
    report = gallery.load(validate=False)
    assert (report.inserted, report.quarantined) == (4, 1)


@pytest.mark.parametrize(
    "conflict", [ConflictStrategy.OVERWRITE, ConflictStrategy.MERGE, ConflictStrategy.SKIP]
)
def test_loading_transformed_rows_again_changes_nothing(gallery: Shop, conflict: ConflictStrategy) -> None:
    gallery.write("artists.csv", ARTISTS)
    gallery.write("pictures.csv", HEADER + SUN)
    gallery.load()
    before = gallery.rows("pictures")
    assert gallery.load(conflict=conflict).read == 0 or conflict is not ConflictStrategy.OVERWRITE
    again = gallery.load(force=True, conflict=conflict)
    assert (again.inserted, again.updated) == (0, 0)
    assert gallery.rows("pictures") == before


def test_a_changed_transform_loads_files_again(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(VISITORS)
    shop.write("people.csv", "id,first,last,tier\n1, Ada ,Roe,pro\n")
    shop.load()
    assert shop.plan().of("people").files == ()
    changed = Catalog("visitors", "1.2.0", (replace(PEOPLE, transforms=(Clean("first"),)),))
    shop = replace(shop, fleet=replace(shop.fleet, catalog=changed))
    assert len(shop.plan().of("people").files) == 1
    assert shop.load().updated == 1
    assert shop.rows("people", "first") == [("Ada",)]


def test_a_nul_in_what_is_only_transformed_spoils_its_row_and_not_the_load(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    row = {"house": "N", "number": 1, "title": "Sun", "owner": "Eve Roe", "owner_email": "e\x00@x.org"}
    gallery.ndjson(
        "pictures.ndjson", [row, {**row, "number": 2, "owner_email": "e@x.org", "remarks": "\x00"}]
    )
    report = gallery.load()
    assert (report.inserted, report.quarantined) == (3, 2)
    assert {(fault[2], fault[4]) for fault in gallery.faults()} == {
        ("owner_email", "contains a NUL character"),
        ("remarks", "contains a NUL character"),
    }


def test_a_file_with_neither_a_column_nor_what_it_is_made_of_is_refused(gallery: Shop) -> None:
    gallery.write("artists.csv", ARTISTS)
    gallery.write("pictures.csv", HEADER.replace("owner,", "someone,") + SUN)
    with pytest.raises(InputError, match=r"pictures\.csv.*owner_first of pictures are missing"):
        gallery.load(drift=Drift.IGNORE)


def test_files_of_an_older_version_are_brought_up_to_the_catalogs(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(VISITORS)
    shop.write("people.csv", "id,full_name,email,tier,fax\n1,Ada de Roe,a@x.org,pro,030\n2,Bob,,free,\n")
    plan = shop.plan(source_version="1.0.0")
    assert plan.of("people").upcasts == ("1.1.0", "1.2.0")
    assert shop.load(source_version="1.0.0").inserted == 2
    assert shop.rows("people") == [
        (1, "Ada", "de Roe", "professional", "a@x.org"),
        (2, "Bob", None, "free", None),
    ]
    assert shop.plan(source_version="1.0.0").of("people").files == ()


def test_only_the_changes_since_a_sources_version_are_made(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(VISITORS)
    shop.write("manifest.json", '{"version": "1.1.0", "files": []}')
    shop.write("people.csv", "id,first,tier,E-Mail\n1,Ada,pro,a@x.org\n")
    assert shop.plan().of("people").upcasts == ("1.2.0",)
    assert shop.plan(source_version="1.2.0").of("people").upcasts == ()
    shop.load()
    assert shop.rows("people", "first tier mail") == [("Ada", "professional", "a@x.org")]
    with pytest.raises(InputError, match=r"the columns tier .*|has no column 'full_name'"):
        shop.write("people.csv", "id,full_name,tier\n1,Ada,pro\n")
        shop.load()


@pytest.mark.parametrize(
    ("manifest", "given", "problem"),
    [
        ('{"version": "2.0.0"}', None, "2.0.0 is later than the datasets, which are at 1.2.0"),
        ('{"version": 1}', None, "1 is not a version"),
        ("{", None, "manifest.json, line 1: not valid JSON"),
        ("{}", "1.x", "'1.x' is not a version"),
    ],
)
def test_a_source_version_that_cannot_be_is_refused(
    open_shop: Callable[..., Shop], manifest: str, given: str | None, problem: str
) -> None:
    shop = open_shop(VISITORS)
    shop.write("people.csv", "id,first,tier\n1,Ada,pro\n")
    manifest_path = shop.write("manifest.json", manifest)
    with pytest.raises(InputError, match=problem):
        shop.plan(source_version=given)
    manifest_path.unlink()
    assert shop.plan().of("people").upcasts == ()


def test_an_older_row_in_quarantine_is_there_as_it_was_read(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(VISITORS)
    shop.write("people.csv", "id,full_name,tier\n1,Ada Roe,pro\n1,Bob Doe,pro\n")
    shop.load(source_version="1.0.0")
    [entry] = shop.quarantine()
    assert entry["reason"] == "the same id as an earlier row"
    assert {name: value for name, value in entry["raw"].items() if value is not None} == {
        "id": "1",
        "full_name": "Bob Doe",
        "tier": "pro",
    }


def test_a_dataset_without_lookups_stages_nothing_besides_what_is_rewritten() -> None:
    from tenant_ops.loading.checking import extra_columns

    assert extra_columns(PEOPLE) == {}
    assert {name for name in extra_columns(GALLERY["pictures"]) if name.startswith("_by")} == {
        "_by0:artist_id"
    }
    assert PICTURES.reads["Price"] == "price"
