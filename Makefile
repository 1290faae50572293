# What people do here, one word each. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Fails in a sentence where PYTHON is missing or too old.
NEW_ENOUGH = command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON) here: install Python 3.11 or newer" >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else \
	"Python 3.11 or newer is needed, and $(PYTHON) is %d.%d: name another, as in make PYTHON=python3.12" % v)'

help: ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

UNPACKED = ls -d $(VENV)/lib/python*/site-packages/*.dist-info | wc -l

# Installs what a lock names, and this package. Counts on the screen what pip collects and unpacks: it may take a minute.
define INSTALL
	@$(NEW_ENOUGH)
	@test -x $(BIN)/python || { echo "Making a virtual environment in $(VENV): some seconds."; $(PYTHON) -m venv $(VENV); }
	@packages=$$(grep -c == $(1)); n=0; unpacking=; before=$$($(UNPACKED)); set -o pipefail; \
	echo "Installing the $$packages packages of $(1), once: up to a minute."; \
	$(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes -r $(1) | \
	while true; do read -r -t 1 word rest; read=$$?; case "$$read $$word" in \
		"0 Collecting") n=$$((n + 1)); test ! -t 1 || printf '\r  collected %d of %d' $$n $$packages ;; \
		"0 Installing") unpacking=yes; test -t 1 || echo "  unpacking $$n packages: up to fifteen seconds" ;; \
		0*) ;; \
		1\ *) test ! -t 1 || printf '\r\033[K'; break ;; \
		*) test -z "$$unpacking" -o ! -t 1 || printf '\r\033[K  unpacked %d of %d' $$(($$($(UNPACKED)) - before)) $$n ;; \
	esac; done
	@echo "  and the project itself"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endef

# Each stamp is newer than the lock file it was installed from.
$(VENV)/serve.stamp: requirements.lock pyproject.toml
	$(call INSTALL,requirements.lock)
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml
	$(call INSTALL,requirements-dev.lock)
	@touch $@ $(VENV)/serve.stamp

serve: $(VENV)/serve.stamp ## Serve with an embedded PostgreSQL, demo data and a bot; DATABASE_URL serves that instead.
	@exec $(BIN)/graphql-api serve

fast: lint ## The edit loop: style, types, imports, and the tests that take moments; ARGS=tests/domain runs those.
	$(BIN)/python -m pytest -q -n 4 -m "not slow" $(ARGS)

# Tests wait for servers, browsers and each other's locks: four keep two cores busy, and who is done takes from the others.
test: $(VENV)/dev.stamp browser ## Run the whole suite.
	$(BIN)/python -m pytest -n 4 --dist worksteal

# GraphiQL is tested in a real browser. Where one is missing and can be installed, it is; else those tests are skipped.
browser:
	@command -v chromium >/dev/null || { test -x /usr/bin/apt-get && test "$$(id -u)" = 0 \
		&& apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; } \
		|| echo "no Chromium: the browser tests will be skipped"

bench: $(VENV)/dev.stamp ## Measure ours beside the peers; ARGS=--report writes the results down.
	$(BIN)/python -m benchmarks $(ARGS)

drill: $(VENV)/dev.stamp ## Run the long drills: crashes, kills, failovers, thousands of examples, the wheel with the newest packages.
	$(BIN)/python -m pytest --drill -m drill

recovery: $(VENV)/dev.stamp ## Restore a moment and promote a standby, with real servers, and print what came of it.
	@$(BIN)/python -m tests.drills.recovery

reliability: $(VENV)/dev.stamp ## Break PostgreSQL and the service under load, and print what clients saw.
	@$(BIN)/python -m tests.drills.reliability

lint: $(VENV)/dev.stamp ## Check style, types, the direction of imports, and that what is imported is declared.
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry graphql_api alembic
	$(BIN)/deptry tests benchmarks examples/python docs --ignore DEP002,DEP004

audit: $(VENV)/dev.stamp ## Look the locked packages up among known vulnerabilities.
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock

check: lint audit test ## Everything: lint, known vulnerabilities, schema and migrations in step, tests.

graphiql: ## Build the GraphiQL page from its source; needs Node 20 or newer.
	npm --prefix graphql_api/transport/graphiql/source ci --ignore-scripts
	npm --prefix graphql_api/transport/graphiql/source run check
	npm --prefix graphql_api/transport/graphiql/source run build

schema: $(VENV)/serve.stamp ## Write schema.graphql from the code.
	$(BIN)/graphql-api schema --output schema.graphql

docs: $(VENV)/dev.stamp ## Build the documentation as a site, in site/; links that lead nowhere fail.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: $(VENV)/dev.stamp ## Lock what pyproject.toml has gained, by hash; ARGS=--upgrade takes the newest that the bounds allow.
	$(BIN)/uv pip compile pyproject.toml --extra embedded --group build --universal --generate-hashes \
		--no-emit-index-url --no-header --quiet $(ARGS) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra redis --extra buckets --extra tracing --group build -c requirements.lock --universal \
		--generate-hashes --no-emit-index-url --no-header --quiet $(ARGS) -o deploy/requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra embedded --group build --group dev -c requirements.lock --universal \
		--generate-hashes --no-emit-index-url --no-header --quiet $(ARGS) -o requirements-dev.lock
	$(BIN)/uv pip compile tests/clients/python/requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet $(ARGS) -o tests/clients/python/requirements.lock

clean: ## Remove what can be made again; the embedded database in .data stays.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site

.PHONY: help serve fast test bench browser drill recovery reliability lint audit check graphiql schema docs lock clean
