"""Chinook validated as a user would: a package with a catalog and rules of its own, found by entry point.

Skipped where its files are not beside the checkout (`../shared/data/chinook`).
"""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tenant_ops.loading import execute_load, plan_load
from tenant_ops.platform.settings import PACKAGE_ROOT
from tenant_ops.tenants import Fleet, provision
from tenant_ops.validation import execute_validation, known_rules, plan_validation, try_rules
from tenant_ops.validation.own_rules import _found
from tenant_ops.validation.testing import SampleTenant, assert_finds, assert_finds_nothing
from tenant_ops_tests.validation.conftest import fleet_of_its_own

DATA = PACKAGE_ROOT.parent / "shared" / "data" / "chinook"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")

DATASETS = '''
"""The datasets of a shop for music, as its files name them."""

from tenant_ops.datasets import Catalog, Column, Dataset, ForeignKey

TYPES = {"i": "integer", "n": "numeric", "t": "timestamptz", "": "text"}
PRIVATE = {"Email": "email", "Phone": "phone", "Fax": "phone", "FirstName": "name", "LastName": "name"}


def snake(name):
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in name).lstrip("_")


def table(source, columns, references="", key=1):
    parts = [text.partition(":") for text in columns.split()]
    made = tuple(
        Column(
            snake(name),
            TYPES[kind.rstrip("?")],
            nullable=kind.endswith("?"),
            source=name,
            privacy=PRIVATE.get(name),
        )
        for name, _, kind in parts
    )
    keys = [reference.split(">") for reference in references.split()]
    return Dataset(
        f"{snake(source)}s",
        source,
        made,
        tuple(column.name for column in made[:key]),
        foreign_keys=tuple(
            ForeignKey((snake(name),), to, (f"{to[:-1]}_id",), on_delete="restrict") for name, to in keys
        ),
        source=source,
    )


PLACE = "Address:? City:? State:? Country:? PostalCode:? Phone:? Fax:?"
BILLED = "BillingAddress:? BillingCity:? BillingState:? BillingCountry:? BillingPostalCode:?"
CATALOG = Catalog(
    "chinook",
    "1.0.0",
    (
        table("Album", "AlbumId:i Title ArtistId:i", "ArtistId>artists"),
        table("Artist", "ArtistId:i Name:?"),
        table(
            "Customer",
            f"CustomerId:i FirstName LastName Company:? {PLACE} Email SupportRepId:i?",
            "SupportRepId>employees",
        ),
        table(
            "Employee",
            f"EmployeeId:i LastName FirstName Title:? ReportsTo:i? BirthDate:t? HireDate:t? {PLACE} Email:?",
            "ReportsTo>employees",
        ),
        table("Genre", "GenreId:i Name:?"),
        table("Invoice", f"InvoiceId:i CustomerId:i InvoiceDate:t {BILLED} Total:n", "CustomerId>customers"),
        table(
            "InvoiceLine",
            "InvoiceLineId:i InvoiceId:i TrackId:i UnitPrice:n Quantity:i",
            "InvoiceId>invoices TrackId>tracks",
        ),
        table("MediaType", "MediaTypeId:i Name:?"),
        table("Playlist", "PlaylistId:i Name:?"),
        table("PlaylistTrack", "PlaylistId:i TrackId:i", "PlaylistId>playlists TrackId>tracks", key=2),
        table(
            "Track",
            "TrackId:i Name AlbumId:i? MediaTypeId:i GenreId:i? Composer:? Milliseconds:i Bytes:i? "
            "UnitPrice:n",
            "AlbumId>albums MediaTypeId>media_types GenreId>genres",
        ),
    ),
)
'''

RULES = '''
"""What must hold in the shop."""

import pandera.pandas as pa

from tenant_ops.validation import Frame, Joined, Rows, Sighting, Where, rule


def shop(dataset, **more):
    about = {"level": "business", "severity": "error", "catalog": "chinook", "remediation": "Ask sales."}
    return rule(dataset=dataset, **about, **more)


@shop("invoices", needs=("invoice_lines",))
def invoice_total_is_its_lines():
    """An invoice comes to what its lines come to."""
    return Rows("""
        SELECT invoice_id FROM invoices
        LEFT JOIN (SELECT invoice_id, sum(unit_price * quantity) AS sum FROM invoice_lines GROUP BY 1) lines
        USING (invoice_id)
        WHERE total IS DISTINCT FROM sum
    """)


@shop("invoice_lines", needs=("tracks",))
def sold_track_has_a_price():
    """What is sold has a price, and is sold for it."""
    return Joined("tracks.unit_price <= 0 OR invoice_lines.unit_price <> tracks.unit_price", ("tracks",))


@shop("customers", needs=("employees",))
def support_rep_supports():
    """Who looks after a customer works in support."""
    return Joined("employees.title NOT LIKE '%%Support%%'", ("employees",))


@shop("invoices", needs=("customers",))
def billed_at_home():
    """A customer is billed where the customer lives."""
    return Joined("invoices.billing_country <> customers.country", ("customers",))


@shop("employees")
def hired_as_an_adult():
    """Nobody is hired before the age of sixteen."""
    return Where("hire_date < birth_date + interval '16 years'")


@shop("employees")
def somebody_is_at_the_top(evidence):
    """One employee reports to nobody."""
    (count,) = evidence.connection.execute(
        "SELECT count(*) FROM employees WHERE reports_to IS NULL"
    ).fetchone()
    if count != 1:
        yield Sighting("employees", f"{count} employees report to nobody.", "employees", count)


@shop("customers")
def customers_can_be_written_to():
    """A customer's address of e-mail has a name and a domain."""
    return Frame(("email",), lambda frame: ~frame["email"].str.contains(r"^[^@ ]+@[^@ ]+[.][a-z]+$"))


@shop("tracks")
def tracks_are_audible():
    """A track lasts, and takes room."""
    return Frame.of_schema(
        pa.DataFrameSchema(
            {
                "milliseconds": pa.Column(int, pa.Check.in_range(1_000, 6_000_000)),
                "bytes": pa.Column(float, pa.Check.gt(1_000), nullable=True),
            }
        ),
        chunk_rows=1_000,
    )
'''

PLANTED: dict[str, tuple[list[str], list[Any]]] = {
    "invoice_total_is_its_lines": (
        [
            "UPDATE invoices SET total = total + 0.01 WHERE invoice_id = 7",
            "DELETE FROM invoice_lines WHERE invoice_id = 8",
        ],
        [7, 8],
    ),
    "sold_track_has_a_price": (
        ["UPDATE invoice_lines SET unit_price = 0.5 WHERE invoice_line_id IN (1, 2240)"],
        [1, 2240],
    ),
    "support_rep_supports": (["UPDATE customers SET support_rep_id = 1 WHERE customer_id = 59"], [59]),
    "billed_at_home": (["UPDATE invoices SET billing_country = 'Atlantis' WHERE invoice_id = 412"], [412]),
    "hired_as_an_adult": (["UPDATE employees SET birth_date = hire_date WHERE employee_id = 8"], [8]),
    "somebody_is_at_the_top": (
        ["UPDATE employees SET reports_to = NULL WHERE employee_id = 2"],
        ["employees"],
    ),
    "customers_can_be_written_to": (["UPDATE customers SET email = 'nobody' WHERE customer_id = 3"], [3]),
    "tracks_are_audible": (
        [
            "UPDATE tracks SET milliseconds = 0 WHERE track_id = 3503",
            "UPDATE tracks SET bytes = 1 WHERE track_id = 1",
            "UPDATE tracks SET bytes = NULL WHERE track_id = 2",
        ],
        [1, 3503],
    ),
}


@pytest.fixture(scope="module")
def chinook(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleTenant]:
    """The user's package, installed, and a tenant with Chinook loaded."""
    folder = tmp_path_factory.mktemp("site")
    package = folder / "chinook_shop"
    about = folder / "chinook_shop-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").write_text("")
    (package / "datasets.py").write_text(DATASETS)
    (package / "rules.py").write_text(RULES)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: chinook-shop\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tenant_ops.rules]\nchinook = chinook_shop.rules\n")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    _found.cache_clear()
    catalog = importlib.import_module("chinook_shop.datasets").CATALOG
    try:
        with fleet_of_its_own(postgres_url, folder) as music:
            fleet = Fleet(music.settings, music.control, catalog, music.clock)
            provision(fleet, "shop", tier_name="professional")
            tenant = fleet.registry.get("shop")
            execute_load(fleet, plan_load(fleet, tenant, source=DATA / "ChinookData.json"))
            yield SampleTenant(fleet, tenant)
    finally:
        sys.path.remove(str(folder))
        _found.cache_clear()
        for name in [name for name in sys.modules if name.startswith("chinook_shop")]:
            del sys.modules[name]


def test_the_package_rules_run_and_those_of_the_music_domain_do_not(chinook: SampleTenant) -> None:
    plan = plan_validation(chinook.fleet, chinook.tenant, types=["business"])
    assert {rule.id for rule in plan.rules} == {
        *(f"business.{name}" for name in PLANTED),
        "business.storage_within_tier",
    }
    report = execute_validation(chinook.fleet, plan)
    assert (report.findings, report.unchecked, report.score) == ((), (), 100)


def test_at_all_levels_only_what_is_so_in_chinook_is_found(chinook: SampleTenant) -> None:
    report = execute_validation(chinook.fleet, plan_validation(chinook.fleet, chinook.tenant))
    assert report.found("critical") == ()
    assert not [one for one in report.findings if one.level in {"schema", "business", "security"}]
    assert not [one for one in report.unchecked if one.level == "business"]


@pytest.mark.parametrize("name", PLANTED)
def test_a_fault_planted_in_chinook_is_found_by_its_rule(chinook: SampleTenant, name: str) -> None:
    rule = getattr(sys.modules["chinook_shop.rules"], name)
    statements, keys = PLANTED[name]
    assert_finds(rule, chinook, statements, keys=keys)
    assert_finds_nothing(rule, chinook)


def test_the_rules_of_the_package_pass_their_trial(chinook: SampleTenant) -> None:
    own = [one for one in known_rules(chinook.fleet.catalog) if not one.shipped]
    assert {one.source for one in own} == {"entry point chinook of chinook-shop 1.0"}
    for tenant in (None, chinook.tenant):
        assert [trial for trial in try_rules(chinook.fleet, own, tenant) if trial.problem] == []
