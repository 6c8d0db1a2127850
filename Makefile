# Everything a developer does. Each target makes what it needs: a virtual environment in .venv, and for the tests
# the shells and tools that they drive.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
# Shells whose completion is tested, the checker of man pages, and the tools that read live topics in the tests.
SYSTEM_TOOLS := bash fish jq mandoc zsh

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/compiled  ## Publish the examples and consume them back
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

.PHONY: test
test: .venv/compiled .venv/system  ## Run all tests
	$(RUN) -m pytest

.PHONY: check
check: .venv/compiled  ## Lint, format, types, freshness of generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(RUN) -m aegis_cli.reference --check

.PHONY: generate
generate: .venv/compiled  ## Write completions, man pages and the README's table anew
	$(RUN) -m aegis_cli.reference --write

.PHONY: format
format: .venv/installed  ## Format the code and repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: .venv/compiled  ## Measure against other tools; prints ratios
	$(RUN) -m benchmarks

.PHONY: soak
soak: .venv/compiled  ## Run real processes against one store, killing them at random: ten minutes, and ten of groups
	$(RUN) -m tests.soak
	$(RUN) -m tests.history

.PHONY: wheel
wheel: .venv/installed  ## Build the wheel into dist/
	$(RUN) -m hatchling build -t wheel

.PHONY: clean
clean:  ## Remove the environment and everything built
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aegis needs Python 3.11 or later")'
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# An environment may forbid Python to write bytecode (PYTHONDONTWRITEBYTECODE): every start would then compile
# all of the source again, and be measured doing so.
.PHONY: .venv/compiled
.venv/compiled: .venv/installed
	@$(RUN) -m compileall -q aegis_cli storage

.venv/system: Makefile | .venv/installed
	@missing=""; \
	for tool in $(SYSTEM_TOOLS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
	    as_root=""; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	    $$as_root apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq --no-install-recommends $$missing \
	        >/dev/null || { echo "the tests need these programs, please install them:$$missing" >&2; exit 1; }; \
	fi
	@touch $@
