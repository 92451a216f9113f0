# Needs nothing but Python >= 3.11, make and git; `make help` lists the targets.
# Each environment has a stamp file, so a second run reinstalls nothing.
VENV := .venv
TRAINING_VENV := .venv-training
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
# This ring mostly waits: two files at a time, each with servers of its own, halve its time.
TWO_AT_A_TIME := -n 2 --dist loadfile
PACKAGING := setup.cfg pyproject.toml requirements/environment.sh
WORDS := web/translations/ko/LC_MESSAGES/messages

# Only what is written behind `make` counts: a stray IMAGE in the environment is not meant.
from_command_line = $(if $(filter command,$(origin $(1))),$($(1)))
DEMO_IMAGE := $(if $(call from_command_line,IMAGE),--image "$$IMAGE")
DEMO_ONCE := $(if $(filter 1 yes true,$(call from_command_line,ONCE)),--once)

# The faults that every `make test` plays; the others take longer than it may.
SHORT_CHAOS := kill_9 or poison or accept_at_once or five_times or (rescued and (child or reader)) or restarted_under_load

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-training long unit integration migration e2e chaos lint format bench up clean \
	system-packages translations vendor screens

help: ## list the targets
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '  %-15s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.runtime $(WORDS).mo ## start everything here and play one case (IMAGE=path, ONCE=1)
	@exec $(PY) -m broker.command demo $(DEMO_IMAGE) $(DEMO_ONCE)

test: lint unit integration migration e2e ## set up and run every ring of tests

test-training: $(TRAINING_VENV)/.training ## smoke run of the training code, in its own environment
	$(TRAINING_VENV)/bin/python -m pytest tests/training

long: $(VENV)/.test $(WORDS).mo system-packages ## the same tests with their full numbers (hours)
	$(PYTEST) --long --timeout 3600 tests/unit tests/integration tests/migration tests/e2e tests/long

unit: $(VENV)/.test $(WORDS).mo ## pure rules and the house's one-way rule
	$(PYTEST) tests/unit

integration: $(VENV)/.test $(WORDS).mo system-packages ## rooms on SQLite and PostgreSQL with a real Redis
	$(PYTEST) $(TWO_AT_A_TIME) tests/integration

migration: $(VENV)/.test system-packages ## Alembic up, down and against the tables
	$(PYTEST) tests/migration

e2e: $(VENV)/.test $(WORDS).mo system-packages ## real processes, a real browser, faults for some minutes
	$(PYTEST) $(TWO_AT_A_TIME) tests/e2e --ignore=tests/e2e/chaos
	$(PYTEST) tests/e2e/chaos/test_chaos.py -k "$(SHORT_CHAOS)"

chaos: $(VENV)/.test $(WORDS).mo system-packages ## every kind of fault, small numbers (half an hour)
	$(PYTEST) tests/e2e/chaos

lint: $(VENV)/.test ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(VENV)/.test ## let ruff write the layout
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(VENV)/.test $(WORDS).mo system-packages ## time the journey beside the bare networks (ARGS=...)
	$(PY) -m tests.bench.journey $(ARGS)

translations: $(WORDS).mo ## compile the pages' Korean words; the other targets do it when it is due

vendor: ## copy other people's part of the pages, pinned in package.json, to web/static/vendor
	npm ci --ignore-scripts --no-audit --no-fund
	npm run --silent vendor

screens: $(VENV)/.test $(WORDS).mo system-packages ## write docs/screens/*.png of every screen
	$(PYTEST) tests/e2e/screens --screens docs/screens

up: ## docker compose: the whole installation in containers
	@docker compose version >/dev/null 2>&1 || \
		{ echo "goldentime: 'docker compose' is needed for this target" >&2; exit 1; }
	docker compose up --build

clean: ## remove environments, caches and what the demo wrote
	rm -rf $(VENV) $(TRAINING_VENV) build dist *.egg-info var runs htmlcov .coverage .coverage.*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the tests need from the distribution: installed for root on Debian and Ubuntu, told elsewhere.
system-packages:
	@sh tests/system_packages.sh

$(WORDS).mo: $(WORDS).po | $(VENV)/.runtime
	$(VENV)/bin/pybabel --quiet compile --directory web/translations

$(VENV)/.runtime: requirements/runtime.txt $(PACKAGING)
	@sh requirements/environment.sh $(VENV) requirements/runtime.txt
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.runtime
	@sh requirements/environment.sh $(VENV) requirements/test.txt
	@touch $@

$(TRAINING_VENV)/.training: requirements/training.txt $(PACKAGING)
	@sh requirements/environment.sh $(TRAINING_VENV) requirements/training.txt
	@touch $@
