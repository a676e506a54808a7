# make demo         install, train a small model on drawn scenes and look at its masks (a few minutes)
# make test         install, lint, and run every test
# make lint         ruff and mypy
# make conformance  transformers' own test suites on vitseg's models
# make clean        remove the virtual environment and everything generated

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint conformance clean

demo: $(VENV)/installed
	$(BIN)/python examples/quickstart.py --output demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

conformance: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/conformance

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache build dist demo
