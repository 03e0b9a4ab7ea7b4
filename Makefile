# The two commands of the README, and what a developer needs beside them.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup run test check docs bench chaos mutants

# Any Python from 3.11 to 3.14, with uv or pip; PYTHON=… and INSTALLER=… choose.
setup:
	@.ci/set_up $(VENV) dev

run: setup
	$(BIN)/study run quickstart

# Two tests at a time, a file's in one process and in its order: long ones wait for processes to start and end.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 30

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

docs: setup
	$(BIN)/python -m study.question.reference > docs/configuration.md
	$(BIN)/python -m study.export.relations > docs/export.md
	$(BIN)/python -m study.question.published docs/encoders.md
	$(BIN)/python -m study.question.doses docs/methods.md
	$(BIN)/python docs/rooms.py

bench: setup
	@.ci/set_up $(VENV) bench
	@for script in $(filter-out benchmarks/learning.py,$(wildcard benchmarks/[a-z]*.py)); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done
	@echo "== benchmarks/learning.py"
	@if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/learning.py --data "$(DATA)"; \
		else echo "left out: needs real task data, make bench DATA=FOLDER"; fi

chaos: setup
	$(BIN)/python -m tests.chaos.seam --seed 1 --faults 1000 --kills 50
	$(BIN)/python -m tests.chaos.cluster --seed 1
	$(BIN)/python -m tests.chaos.autoscaler
	$(BIN)/python -m tests.chaos.formats --seed 1 --cases 10000

mutants: setup
	$(BIN)/python -m tests.mutants
