# Everything runs inside .venv, made and filled by plain pip.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint types contracts unit test-slow test-gpu faults install docs figures readme checkpoints clean

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

# The documentation as a site in site/: notebooks are executed, links and anchors checked, nothing is fetched when it is read.
NOTEBOOKS := neural-operator verdict
docs: $(STAMP) .venv/.docs $(NOTEBOOKS:%=docs/notebooks/%.md)
	$(BIN)/python -P docs/commands.py > docs/reference/commands.md
	$(BIN)/zensical build --strict
	! grep -rlE '<(script|img|link|iframe)[^>]+(src|href)="https?:[^"]+\.(js|css|png|svg|woff2?)"' site --include='*.html'

.venv/.docs: pyproject.toml | $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# build/ is where a notebook runs and leaves its files.
docs/notebooks/%.md: docs/notebooks/%.py | .venv/.docs
	mkdir -p build/notebooks
	$(BIN)/jupytext --quiet --to ipynb --output build/notebooks/$*.ipynb $<
	cd build/notebooks && ../../$(BIN)/jupyter nbconvert --log-level WARN --KernelManager.transport=ipc \
		--execute --to notebook --inplace $*.ipynb
	$(BIN)/jupyter nbconvert --log-level WARN --to markdown --output-dir docs/notebooks build/notebooks/$*.ipynb
	cp build/notebooks/$*.ipynb docs/notebooks/

# What README shows of the demo: its output and its picture, made again.
readme: demo
	$(BIN)/python -P docs/outputs.py

# The figures of docs/mathematics.md, drawn by the program.
figures: install
	$(BIN)/python -P docs/figures.py

# The pair of trained runs that ships in checkpoints/ (docs/checkpoints.md): half a minute on one core.
PAIR := build/checkpoints
checkpoints: install
	$(BIN)/kitipde generate burgers --samples 448 --resolution 1024 --seed 0 --out $(PAIR)/burgers.h5
	$(BIN)/kitipde train fno --no-kiti --config demo --data $(PAIR)/burgers.h5 --seeds 3 --out $(PAIR)/vanilla --overwrite
	$(BIN)/kitipde train fno --kiti --config demo --data $(PAIR)/burgers.h5 --seeds 3 --out $(PAIR)/kiti --overwrite
	rm -rf checkpoints
	$(BIN)/kitipde export run $(PAIR)/vanilla --out checkpoints/burgers-vanilla
	$(BIN)/kitipde export run $(PAIR)/kiti --out checkpoints/burgers-kiti

clean:
	rm -rf .venv build dist demo site
	rm -rf docs/notebooks/*.md docs/notebooks/*.ipynb docs/notebooks/*_files docs/reference/commands.md
