# Everything runs inside .venv, made and filled by plain pip.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint types contracts unit test-slow test-gpu install checkpoints docs clean

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
	$(BIN)/pytest -m 'slow and not gpu'

test-gpu: install
	$(BIN)/pytest -m gpu

# The pair of trained runs that ships in checkpoints/ (docs/checkpoints.md): 3 to 5 minutes on one core.
PAIR := build/checkpoints
checkpoints: install
	$(BIN)/kitipde generate burgers --samples 448 --resolution 1024 --seed 0 --out $(PAIR)/burgers.h5
	$(BIN)/kitipde train fno --no-kiti --config demo --data $(PAIR)/burgers.h5 --seeds 3 --out $(PAIR)/vanilla --overwrite
	$(BIN)/kitipde train fno --kiti --config demo --data $(PAIR)/burgers.h5 --seeds 3 --out $(PAIR)/kiti --overwrite
	rm -rf checkpoints
	$(BIN)/kitipde export run $(PAIR)/vanilla --out checkpoints/burgers-vanilla
	$(BIN)/kitipde export run $(PAIR)/kiti --out checkpoints/burgers-kiti

clean:
	rm -rf .venv build dist demo
