"""A small catalog whose source files need every transform, and an older version of them."""

import pyarrow as arrow
import pyarrow.compute as compute

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
    Split,
    Upcast,
)


def initials(first: arrow.Array, last: arrow.Array) -> arrow.Array:
    """The first letters of two names."""
    letters = [compute.utf8_slice_codeunits(compute.fill_null(name, ""), 0, 1) for name in (first, last)]  # pyright: ignore[reportAttributeAccessIssue]
    return compute.binary_join_element_wise(*letters, "")  # pyright: ignore[reportAttributeAccessIssue]


ARTISTS = Dataset(
    name="artists",
    description="Who painted.",
    columns=(
        Column("id", "integer"),
        Column("name", "text", unique=True, privacy="name"),
        Column("country", "text", nullable=True),
        Column("born", "date", nullable=True, source="Born", formats=("%d.%m.%Y", "%B %d, %Y", "iso")),
    ),
    key=("id",),
    unique=(("country", "name"),),
    transforms=(Clean("name"), Clean("country", lower=True, empty_as_null=True)),
)
PICTURES = Dataset(
    name="pictures",
    description="What hangs there.",
    columns=(
        Column("id", "text"),
        Column("artist_id", "integer", nullable=True),
        Column("title", "text", rules=(Length(1, 40),)),
        Column("price", "numeric", nullable=True, source="Price"),
        Column("state", "text"),
        Column(
            "shown_at", "timestamptz", nullable=True, formats=("%d/%m/%Y %H:%M", "iso"), zone="Europe/Berlin"
        ),
        Column("owner_first", "text", privacy="name"),
        Column("owner_last", "text", nullable=True, privacy="name"),
        Column("owner_initials", "text", nullable=True),
        Column("owner_email", "text", nullable=True, privacy="email"),
        Column("owner_phone", "text", nullable=True, privacy="phone"),
    ),
    key=("id",),
    foreign_keys=(ForeignKey(("artist_id",), "artists", ("id",)),),
    transforms=(
        Derive("id", "{house}-{number}"),
        Number("Price"),
        MapValues("state", {"ok": "sound", "broken": "damaged", "?": None}, otherwise="refuse"),
        Default("state", "unknown"),
        Split("owner", ("owner_first", "owner_last"), exact=True),
        Compute("owner_initials", ("owner_first", "owner_last"), initials),
        Hash("owner_email"),
        Mask("owner_phone"),
        Clean("painter"),
        Lookup("artist_id", "artists", by={"name": "painter"}),
        Drop("remarks"),
    ),
)
GALLERY = Catalog("gallery", "1.0.0", (PICTURES, ARTISTS))

PEOPLE = Dataset(
    name="people",
    description="People, by first and last name.",
    columns=(
        Column("id", "integer"),
        Column("first", "text"),
        Column("last", "text", nullable=True),
        Column("tier", "text"),
        Column("mail", "text", nullable=True, source="E-Mail"),
    ),
    key=("id",),
)
VISITORS = Catalog(
    "visitors",
    "1.2.0",
    (PEOPLE,),
    upcasts=(
        Upcast("1.1.0", "people", (Split("full_name", ("first", "last")), Derive("mail", "{email}"))),
        Upcast("1.2.0", "people", (MapValues("tier", {"pro": "professional"}), Drop("fax"))),
    ),
)
