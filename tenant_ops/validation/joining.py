"""The tables a rule sees at the side of its own: those its dataset refers to.

Here: the joins a `Joined` rule means. Not here: its queries (`scanning.py`).

References lead to primary keys, so that a join finds one row or none and never makes two of one.
"""

from collections.abc import Sequence

from psycopg import sql

from tenant_ops.datasets import Catalog, Dataset
from tenant_ops.platform.errors import InputError


def joined_tables(
    catalog: Catalog, dataset: Dataset, to: Sequence[str], table: sql.Composable | None = None
) -> sql.Composed:
    """The dataset's table with those it refers to at its side, for a FROM clause.

    Args:
        catalog: The datasets there are.
        dataset: Whose rows are looked at.
        to: The datasets at its side.
        table: The table, or the part of it, that is read; the whole one when None.

    Raises:
        InputError: not exactly one foreign key leads to one of them.
    """
    joins = [table or sql.Identifier(dataset.name)]
    for name in to:
        keys = [key for key in dataset.foreign_keys if key.references == name]
        if len(keys) != 1 or name == dataset.name or name not in catalog:
            raise InputError(
                f"a Joined rule of {dataset.name} looks at {name!r}, to which {len(keys)} foreign keys lead "
                "from it; one to another dataset is needed.",
                fix="Write the join yourself, as Rows.",
            )
        joins.append(
            sql.SQL("LEFT JOIN {} ON {}").format(
                sql.Identifier(name),
                sql.SQL(" AND ").join(
                    sql.SQL("{} = {}").format(
                        sql.Identifier(dataset.name, column), sql.Identifier(name, target)
                    )
                    for column, target in zip(keys[0].columns, keys[0].target, strict=True)
                ),
            )
        )
    return sql.SQL(" ").join(joins)
