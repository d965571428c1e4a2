# Everything a developer does here; `make` alone lists it. Needs make (GNU 3.81 or newer), Python
# 3.11 or newer, and pip's way to a package index. The path of the checkout must have no spaces.
#
# Variables: PYTHON=/path/to/python3  DJANGO=5.2  VENV=folder  ARGS="more arguments for pytest"
# WORKERS=0 has the tests run one after another.

VENV   = .venv
PYTHON =
DJANGO =
ARGS   =
WORKERS = 2
BIN    = $(VENV)/bin
BUILD  = @support/build-venv "$(VENV)" "$(PYTHON)" "$(DJANGO)"
HAS    = support/system-packages --has
ALL    = dev databases servers unbounded \
         $$($(HAS) mysqlclient "$(VENV)" "$(PYTHON)" && echo mysqlclient) \
         $$($(HAS) uwsgi "$(VENV)" "$(PYTHON)" && echo uwsgi)

.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help venv system-packages test lint pytest format test-matrix test-django test-django-quick \
        demo demo-site bench-pool bench-sqlite-writers bench-async bench-host bench-streams constraints clean

help: ## this list
	@echo "make ..."
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

demo: ## a real site on a real PostgreSQL, first with stock Django, then with carpool
	$(BUILD) dev
	@$(BIN)/python -m examples.demo $(ARGS)

demo-site: ## the same site, left up for you to look at
	$(BUILD) dev
	@$(BIN)/python -m examples.demo --site $(ARGS)

test: system-packages lint pytest ## all checks: ruff, mypy, pytest

lint: venv ## ruff and mypy
	@echo "-- ruff check";          $(BIN)/ruff check --quiet
	@echo "-- ruff format --check"; $(BIN)/ruff format --check --quiet
	@echo "-- mypy --strict";       $(BIN)/mypy --strict

pytest: system-packages venv ## the tests alone
	@$(BIN)/python --version; $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

format: venv ## format the code and mend what ruff can
	@$(BIN)/ruff check --fix; $(BIN)/ruff format

test-matrix: ## the tests with every supported pair of Python and Django that is present
	$(BUILD) dev
	@MAKE="$(MAKE)" $(BIN)/python -m support.matrix

test-django: system-packages venv ## Django's own test suite, with stock Django and with carpool
	@$(BIN)/python -m support.django_suite $(ARGS)

test-django-quick: system-packages venv ## the parts of it that bear on connections, under five minutes
	@$(BIN)/python -m support.django_suite --quick $(ARGS)

bench-pool: system-packages ## what acquire and release cost, beside other pools
	$(BUILD) $(ALL) bench
	@$(BIN)/python -m benchmarks.pool $(ARGS)

bench-sqlite-writers: ## writers of one SQLite file: stock Django, kept connections, carpool
	$(BUILD) dev bench
	@$(BIN)/python -m benchmarks.sqlite_writers $(ARGS)

bench-async: system-packages ## what a query costs in an async view: threads, native connections
	$(BUILD) dev bench async
	@$(BIN)/python -m benchmarks.async_queries $(ARGS)

bench-host: system-packages ## many processes on few connections: share: host beside PgBouncer
	$(BUILD) dev bench
	@$(BIN)/python -m benchmarks.host $(ARGS)

bench-streams: system-packages ## 1,000 streams of server-sent events on 10 connections
	$(BUILD) dev servers
	@$(BIN)/python -m benchmarks.streams $(ARGS)

venv: ## the virtual environment that all of these use
	$(BUILD) $(ALL)

system-packages: ## what the tests need of the system: installed with apt, or else listed
	@support/system-packages "$(VENV)" "$(PYTHON)"

constraints: ## renew constraints.txt with the newest versions
	@support/renew-constraints

clean: ## remove all that these commands made
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
