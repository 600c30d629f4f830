# Every verb sets up what it needs in $(VENV); nothing but Python 3.11 or newer is expected.
PYTHON ?= python3
VENV ?= .venv
# base model that the benchmarks run on (a diffusers folder)
MODEL ?= src/renma/assets/mame
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: help demo test slow check docs bench

help: ## show the verbs
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile

demo: $(VENV)/.installed ## from pictures to a judged LoRA, into demo/
	$(BIN)/renma demo --out demo

# the second line runs whatever became of the first; both have to pass
test: $(VENV)/.installed-dev ## all tests but the slow ones: on all cores, then those that count seconds
	$(BIN)/python -m pytest -m "not slow and not timed" -n auto --maxprocesses 4 --dist loadfile; \
	others=$$?; $(BIN)/python -m pytest -m "timed and not slow" && exit $$others

slow: $(VENV)/.installed-dev ## full-size models and long runs
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev ## format, lint, types, import floors, generated pages, sizes
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m renma.config.views --check && $(BIN)/python -m pytest tests/house/test_sizes.py

docs: $(VENV)/.installed-dev ## write the option pages and the JSON Schema
	$(BIN)/python -m renma.config.views

bench: $(VENV)/.installed-dev ## speed beside a plain PEFT loop (MODEL=folder), then five seeds of each sample
	mkdir -p benchmarks/results
	$(BIN)/python benchmarks/train_step.py $(MODEL) --out benchmarks/results/train_step.json
	$(BIN)/python benchmarks/likeness.py --out benchmarks/results

# stamps: a second call installs nothing until pyproject.toml changes
$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "renma needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV) && touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	$(PIP) -e . && touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	$(PIP) -e '.[dev]' && touch $(VENV)/.installed $@
