"""Alembic's entry point: runs the revisions on the connection that `upgrade.py` hands over."""

from alembic import context

from tenant_ops.platform.control_plane.upgrade import SCHEMA

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_revision", version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
