"""`python -m tenant_ops` is the `tenant-ops` command."""

from tenant_ops.cli import main

main()
