# make demo         install, train a small model on drawn scenes and look at its masks (a few minutes)
# make test         install, lint, build the documentation, and run every test
# make quick        lint, and the tests that take no time: two to three minutes, for the edit loop
# make lint         ruff and mypy
# make docs         the documentation, in build/site
# make interop      mmsegmentation's own code against ours (a minute)
# make gpu          what only a CUDA device can show, in gpu/ (8 minutes), with PYTHON as it is: nothing is installed
# make conformance  transformers' own test suites on vitseg's models
# make clean        remove the virtual environment and everything generated

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INTEROP := build/interop
# What the edit loop leaves out: what is marked slow, whole programs, and transformers' own test suites.
QUICK := -m "not slow" --ignore tests/conformance --ignore tests/examples

.PHONY: demo test quick lint docs interop gpu conformance clean

demo: $(VENV)/installed
	$(BIN)/python examples/quickstart.py --output demo

test: lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

quick: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(QUICK)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build --quiet --strict

interop: $(INTEROP)/installed
	OMP_NUM_THREADS=1 PYTHONPATH=$(INTEROP):tests $(BIN)/python -m interop

gpu:
	PYTHONPATH=src:examples:tests $(PYTHON) -m gpu

conformance: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/conformance

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml
	$(PIP_INSTALL) --editable ".[train]"
	touch $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml
	$(PIP_INSTALL) --editable ".[dev]"
	touch $(VENV)/installed $@

$(INTEROP)/installed: $(VENV)/installed-dev tests/interop/requirements.txt
	rm -rf $(INTEROP)
	$(PIP_INSTALL) --no-deps --target $(INTEROP) --requirement tests/interop/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache build dist demo gpu
