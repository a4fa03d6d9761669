"""Operate a fleet of SaaS tenants on Postgres from Dagster."""
