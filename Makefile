# Everything a newcomer types. Each target makes its own set-up: a virtual environment in .venv with exact, hashed versions.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Hundreds of short processes start in the tests: where nothing may be kept, each of them would compile all of this anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint format types reference chaos bench soak lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the locked dependencies

$(READY): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "konvox-hooks needs Python 3.11 or newer: install one, or name it with make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## See the whole product work in under a minute
	@$(BIN)/konvox-hooks demo

test: $(READY) ## Run every test
	@# Development mode without its debugging of memory, which would take a tenth of the time: nothing here is written in C.
	PYTHONMALLOC=pymalloc $(BIN)/python -X dev -m pytest -n 4 --dist worksteal

check: lint types test ## Lint, types, tests: what CI runs

lint: $(READY) ## Check style, formatting and docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Format and fix what can be fixed by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY) ## Check the types (mypy --strict)
	$(BIN)/mypy

reference: $(READY) ## Write docs/reference.md from the docstrings
	$(BIN)/python -m tests.support.reference

chaos: $(READY) ## Break everything at random moments, and count (ITERATIONS=200 SEED=1 ROWS=1,2,4)
	$(BIN)/python -m tests.chaos.matrix $(if $(ITERATIONS),--iterations $(ITERATIONS)) $(if $(SEED),--seed $(SEED)) $(if $(ROWS),--rows $(ROWS))

bench: $(READY) ## Measure the receiver and the worker against their peers
	$(BIN)/python -m benchmarks.run

soak: $(READY) ## See whether memory, open files and threads stay flat under load (MINUTES=20 RATE=3000)
	$(BIN)/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE))

lock: ## Resolve the dependencies again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header --upgrade --group dev pyproject.toml -o requirements/dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header --constraint requirements/dev.lock pyproject.toml -o requirements/runtime.lock
	echo hatchling | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header --constraint requirements/dev.lock - -o requirements/build.lock

clean: ## Remove what the targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/results benchmarks/.peers
