"""Backups of one tenant: sealed archives of schema, rows, files and configuration, and the way back."""
