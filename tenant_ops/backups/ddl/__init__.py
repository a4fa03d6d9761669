"""The definition of a schema: read from the catalogs, written as statements that fit any tenant."""

from tenant_ops.backups.ddl.allowed import is_definition
from tenant_ops.backups.ddl.outside import missing_needs
from tenant_ops.backups.ddl.reading import read_definition
from tenant_ops.backups.ddl.statements import (
    Neutralizer,
    SchemaDefinition,
    Statement,
    TableShape,
    decode_statements,
    encode_statements,
    names_for,
)

__all__ = [
    "Neutralizer",
    "SchemaDefinition",
    "Statement",
    "TableShape",
    "decode_statements",
    "encode_statements",
    "is_definition",
    "missing_needs",
    "names_for",
    "read_definition",
]
