# Needs make, python3 (3.10 or newer, with venv) and a package index; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# "compat" makes an editable install a plain path; setuptools' default costs every process an import hook
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --config-settings editable_mode=compat

# An environment cannot be moved, and one whose making was interrupted is none: make it anew.
ifneq ($(shell cat $(VENV)/.made-in 2>/dev/null),$(CURDIR))
$(shell rm -rf $(VENV))
endif

.PHONY: help run test test-long check bench clean
.DEFAULT_GOAL := help

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST)

run: $(VENV)/.installed-embedded ## collect in the foreground; Ctrl-C stops everything
	@exec $(BIN)/aggregator run

test: $(VENV)/.installed-test ## run the tests against real servers
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-long: $(VENV)/.installed-test ## run the long rounds of the tests that kill and change things
	@$(BIN)/python -m pytest -m long -p no:xdist

check: $(VENV)/.installed-test ## check style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -p no:xdist tests/test_layers.py

bench: $(VENV)/.installed-bench $(VENV)/arq/.installed ## measure, beside other task queues
	@$(BIN)/python -m benchmarks

clean: ## remove what these targets made; collected data stays
	rm -rf $(VENV) .cache build dist loglines_aggregator.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed-embedded: EXTRAS := embedded
$(VENV)/.installed-test: EXTRAS := test,embedded
$(VENV)/.installed-bench: EXTRAS := test,embedded,bench

# A stamp per set of extras: nothing is asked of the package index until what is needed changes.
$(VENV)/.installed-%: setup.cfg setup.py | $(BIN)/python
	@echo "installing loglines-aggregator[$(EXTRAS)] into $(VENV)"
	@$(INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@

# arq wants an older redis-py than everybody else
$(VENV)/arq/.installed: | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/arq
	@$(VENV)/arq/bin/python -m pip install --quiet --disable-pip-version-check arq
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$(PYTHON) is missing or older than 3.10; name another one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) lacks venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@echo '$(CURDIR)' >$(VENV)/.made-in
