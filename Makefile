# Everything starts from python3 (3.11 or later), pip and make; the rest is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format nodes faults machine bench chaos lock client migration clean

help:
	@echo "make demo       a server, a provider and an app to connect, on this machine"
	@echo "make test       linters, type checkers and every test"
	@echo "make lint       linters and type checkers alone"
	@echo "make format     put source files into the house's format"
	@echo "make test-real  tests against real third-party servers"
	@echo "make nodes      partition nodes from each other and keep them busy (takes long)"
	@echo "make faults     kill a server at every instant of every journey (takes long)"
	@echo "make machine    steps in any order, with any fault, against a model: MINUTES=15 a database"
	@echo "make bench      measure speed and memory"
	@echo "make chaos      kill processes at random under load: MINUTES=2, or KILLS=10000, STORE=sqlite"
	@echo "make lock       renew requirements.lock from pyproject.toml"
	@echo "make client     write carrick.SyncClient anew from carrick.Client"
	@echo "make migration  write the first migration anew, or with name=… the next one"

venv: $(READY)

# uv comes first, from the same lock, because it installs the rest in seconds. Its sync removes
# what the lock does not name, so the package itself comes last.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; set PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY)
	$(BIN)/carrick demo

test: lint
	$(BIN)/pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

machine: $(READY)
	MINUTES=$(or $(MINUTES),15) $(BIN)/pytest -s -n 0 tests/machine/test_whole_lives.py --hypothesis-profile=machine --timeout 0

nodes: $(READY)
	$(BIN)/pytest -n 0 -m nodes

faults: $(READY)
	$(BIN)/pytest -n 2 -m faults --timeout 1800

bench: $(READY)
	$(BIN)/python -m bench

chaos: $(READY)
	$(BIN)/python -m tests.chaos $(if $(KILLS),--kills $(KILLS),--minutes $(or $(MINUTES),2)) \
		$(if $(filter sqlite,$(STORE)),--sqlite)

lock: $(READY)
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --group dev \
		pyproject.toml --output-file requirements.lock

client: $(READY)
	$(BIN)/python tools/sync_client.py

migration: $(READY)
	$(BIN)/python tools/migration.py $(name)
	$(BIN)/ruff format --quiet src/carrick/store/migrations/versions

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

include tests/real/Makefile.inc tests/wire/Makefile.inc
