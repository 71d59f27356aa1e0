# Needs Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
METHODS := single-task soft-ordering ctr
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder

.PHONY: run test lint bench clean

# Three methods on the embedded tasks, then one report of them side by side.
run: $(VENV)/.package
	@set -e; n=1; while [ -e runs/make-run-$$n ]; do n=$$((n + 1)); done; \
	out=runs/make-run-$$n; \
	for method in $(METHODS); do \
	  echo "== $$method"; \
	  $(BIN)/evojax-mtl run $$method --tasks glyphs --scale smoke \
	    --out $$out/$$method; \
	done; \
	$(BIN)/evojax-mtl report $(METHODS:%=$$out/%) --out $$out/report.html; \
	echo "Open $(CURDIR)/$$out/report.html in a browser."

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

bench: $(VENV)/.bench
	$(BIN)/python -m experiments.benchmarks

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.package: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $@ $(VENV)/.package

# The type checker reads the types of what the package and its benchmarks import.
$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[lint,test]'
	touch $@ $(VENV)/.package $(VENV)/.test

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[bench]'
	touch $@ $(VENV)/.package
