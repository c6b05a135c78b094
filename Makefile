# Weir. `make help` lists what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# to the command, as in: make test ARGS="tests/unit -k window", make bench ARGS="--only pipeline"
ARGS   ?=
# test files at a time, each on servers of its own; 0 is one after another. 2 halves the time on a quiet machine
JOBS   ?= 0

.DEFAULT_GOAL := help
.PHONY: help install demo test soak check bench lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

install: $(STAMP)  ## the virtual environment, from the lock file

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Weir needs Python 3.11 or newer, and %s is %s. Try: make PYTHON=python3.12" % (sys.executable, sys.version.split()[0]))'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments: its modules venv and ensurepip are missing." >&2; \
	  echo "Debian and Ubuntu: apt install python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv. Others: install Python from python.org." >&2; \
	  exit 1; }
	@test -x $(BIN)/python -a -x $(BIN)/pip || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@echo "Installing what requirements.lock names into $(VENV)."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)  ## the main job on the embedded stack, about three minutes
	$(BIN)/weir demo

test: $(STAMP)  ## every test, on the embedded stack, which it starts and stops itself
	@echo "Every test, on real servers of its own (WEIR_TEST_STACK=$${WEIR_TEST_STACK:-embedded}); about half an hour, JOBS=2 about fifteen minutes."
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --durations=10 $(ARGS)

soak: $(STAMP)  ## every fault thirty times, about two hours; prints a table
	$(BIN)/python -m tests.fault.soak $(ARGS)

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## every benchmark, one to two hours, and docs/performance.md from them; ARGS=--quick in minutes
	$(BIN)/weir bench all $(ARGS)

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

lock:  ## the lock files from pyproject.toml, and those of the benchmark's peers (needs uv)
	$(LOCK) --all-extras --output-file requirements.lock pyproject.toml build-requirements.in
	@# the part of it that running needs, for the image: the same versions, held by constraints without hashes
	sed -n 's/^\([A-Za-z0-9._-]*==.*[^ \\]\) *\\*$$/\1/p' requirements.lock > requirements-constraints.tmp
	$(LOCK) --constraint requirements-constraints.tmp --output-file requirements-runtime.lock pyproject.toml build-requirements.in
	rm requirements-constraints.tmp
	for peer in bench/peers/*.in; do $(LOCK) --output-file "$${peer%.in}.lock" "$$peer"; done

clean:  ## the virtual environment and the embedded data
	rm -rf $(VENV) .weir .pytest_cache .mypy_cache .ruff_cache .hypothesis
