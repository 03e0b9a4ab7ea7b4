# The two commands of the README, and what a developer needs beside them.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup run test check docs bench chaos mutants

# Ray installs a script named tune too, and each of its updates does so again: ours, which has Ray's commands and our
# own, is the one that must stay.
setup: $(STAMP)
	@grep -q study.cli $(BIN)/tune || $(BIN)/pip install --quiet --force-reinstall --no-deps --editable .
	@grep -q study.cli $(BIN)/tune

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (minutes the first time, nothing afterwards)"
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --editable '.[dev]' --constraint constraints.txt
	touch $@

run: setup
	$(BIN)/study run quickstart

# Two tests at a time, a file's in one process and in its order: long ones wait for processes to start and end.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

docs: setup
	$(BIN)/python -m study.question.reference > docs/configuration.md
	$(BIN)/python -m study.reporting.relations > docs/export.md
	$(BIN)/python docs/rooms.py

bench: setup
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --editable '.[bench]' --constraint constraints.txt
	@for script in $(filter-out benchmarks/learning.py,$(wildcard benchmarks/[a-z]*.py)); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done
	@echo "== benchmarks/learning.py"
	@if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/learning.py --data "$(DATA)"; \
		else echo "left out: needs real task data, make bench DATA=FOLDER"; fi

chaos: setup
	$(BIN)/python -m tests.chaos.seam --seed 1 --faults 1000 --kills 50
	$(BIN)/python -m tests.chaos.cluster --seed 1

mutants: setup
	$(BIN)/python -m tests.mutants
