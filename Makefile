# Everything runs inside .venv, made and filled by plain pip.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint types contracts unit test-slow test-gpu faults install clean

demo: install
	$(BIN)/kitipde demo --out demo --overwrite

test: lint types contracts unit

install: $(STAMP)

# torch first and pinned: its range in pyproject.toml admits builds that bring gigabytes of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(STAMP)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/pyright

contracts: install
	$(BIN)/lint-imports

unit: install
	$(BIN)/pytest -n 2 -m 'not slow and not gpu'

test-slow: install
	$(BIN)/pytest -m 'slow and not gpu and not faults'

# Kills, full disks, fuzzing: about half an hour.
faults: install
	$(BIN)/pytest tests/faults -m faults --faults-table docs/results/faults.md

test-gpu: install
	$(BIN)/pytest -m gpu

clean:
	rm -rf .venv build dist demo
