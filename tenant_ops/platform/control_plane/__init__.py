"""The control-plane schema `tenant_ops`: its Alembic revisions and the upgrade that runs them."""
