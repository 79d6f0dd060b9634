# EscapeCapitalism: `make demo` shows it, `make test` tests it; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamps
PACKAGES := economy telemetry schemas streams agents runs jobs queries infra bench
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
UV = $(shell command -v uv || echo $(VENV)/.bootstrap/bin/uv)
ARGS ?=
# Tests of one process per core, side by side; a file in its order, so that long ones do not come last.
BESIDE := -n auto --no-loadscope-reorder
# What a run needs, the data of the demo's tape, and the tools of development, each locked by itself; the image has the first.
LOCKS ?= requirements.lock requirements-tapes.lock requirements-dev.lock

.PHONY: help setup check test soak cluster demo lock clean FORCE

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)/project $(STAMP)/jars ## install everything that is missing, once

$(STAMP)/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: install one and run make again" >&2; exit 1; }
	@mkdir -p $(STAMP)
	@command -v uv >/dev/null || { $(PYTHON) -m venv $(VENV)/.bootstrap && $(VENV)/.bootstrap/bin/pip install -q uv; }
	@touch $@

# Other locks than last time are another environment.
$(STAMP)/locks: FORCE
	@mkdir -p $(STAMP)
	@test "$$(cat $@ 2>/dev/null)" = "$(LOCKS)" || echo "$(LOCKS)" > $@

$(STAMP)/environment: $(STAMP)/uv $(STAMP)/locks $(LOCKS)
	@echo "Installing the locked environment into $(VENV)" >&2
	@test -x $(BIN)/python || $(UV) venv -q --allow-existing --python $$($(PYTHON) -c 'import sys; print(sys.executable)') $(VENV)
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync -q --compile-bytecode --require-hashes $(LOCKS)
	@touch $@

$(STAMP)/project: $(STAMP)/environment pyproject.toml
	@VIRTUAL_ENV=$(VENV) $(UV) pip install -q --no-deps --build-constraints requirements-dev.lock -e .
	@touch $@

$(STAMP)/jars: $(STAMP)/project infra/jars.lock
	@echo "Fetching the jars of Kafka and of Spark's connectors" >&2
	@$(BIN)/python -m infra.jars
	@touch $@

check: $(STAMP)/project ## lint, types, import rules, generated files and lock up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	.ci/check-lock $(UV)

demo: setup ## the main job; ARGS=--exit ends after the summary
	@$(BIN)/escape doctor --quiet
	@$(BIN)/escape demo $(ARGS)

test: setup ## all tests but the long ones
	@$(BIN)/escape doctor --quiet
	$(BIN)/pytest $(BESIDE) --dist worksteal -m "not integration and not chaos and not soak"
	$(BIN)/pytest $(BESIDE) --dist loadfile -m "(integration or chaos) and not soak" || test $$? -eq 5

soak: setup ## the long tests
	$(BIN)/pytest -m soak --timeout 3600

cluster: setup ## docker-compose.yml without Docker, killed piece by piece (root, Linux); ARGS=one for one broker
	@$(BIN)/python -m tests.cluster $(ARGS)

lock: $(STAMP)/uv ## resolve pyproject.toml into the locks; what is locked stays where it still fits
	.ci/lock $(UV) .

clean: ## delete the environment and all state
	rm -rf $(VENV) .escape .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
