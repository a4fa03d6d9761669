# Everything here works on a fresh machine with Python 3.11 or newer, in a path with spaces, and twice.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo dev test test-all lint bench clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
# Scripts in .venv/bin name their interpreter by full path, which breaks when the checkout is moved.
RUN := .venv/bin/python -m
WORKERS ?= 2

help: ## Show this help
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.venv/.runtime: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "tenant_ops needs Python 3.11 or newer with venv (Debian: apt-get install python3 python3-venv)." >&2; exit 2; }
	@echo "Setting up .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv .venv
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.runtime
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.runtime ## Provision, load, validate, back up and restore three tenants on the embedded Postgres
	@$(RUN) tenant_ops demo

dev: .venv/.runtime ## Open the Dagster UI on the same runs and data
	@$(RUN) tenant_ops dev

test: .venv/.dev ## The quick tests
	@$(RUN) pytest -n $(WORKERS) -m "not slow and not browser"

test-all: .venv/.dev ## Every test, slow and browser ones too (needs Chromium)
	@$(RUN) pytest -n $(WORKERS)

lint: .venv/.dev ## Lint, format, types, import contracts
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) pyright --pythonpath .venv/bin/python
	@.venv/bin/python -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

bench: .venv/.dev ## Every benchmark, with ratios, versions and sizes
	@$(RUN) bench

clean: ## Remove what these targets made in this checkout, nothing else
	@test ! -x .venv/bin/python || $(RUN) tenant_ops stop >/dev/null 2>&1 || true
	@rm -rf .venv .tenant_ops .tmp_dagster_home_* .pytest_cache .ruff_cache .hypothesis .coverage .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
