# On a fresh machine with Python 3.11 or newer: `make run`, then `make ui`. `make help` lists all.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup run ui repro test check clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# Rebuilt only when a requirement changes.
.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, got " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing pinned packages (about 6 GB on disk)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

setup: .venv/.ready  ## virtual environment, model weights and the data that data.dvc names
	@mm weights
# DVC warns that no remote is the default, even though data.dvc names one; heard only on failure.
	@test -d data || said=$$(dvc pull data.dvc 2>&1) || { echo "$$said" | tail -n 6 >&2; exit 1; }

run: setup  ## the whole pipeline through Dagster, then a summary
	@python -m orchestration

ui: setup  ## the Dagster web UI and daemon on 127.0.0.1:3000
	@python -m orchestration ui

repro: setup  ## the whole pipeline through DVC alone
	@dvc repro

# Two test workers, one core each: nested pools of threads take twice as long.
check test: export OMP_NUM_THREADS := 1

check: setup  ## what to run while working: style, types, import directions, fast tests
	@ruff format --check . && ruff check . && mypy && lint-imports --no-cache && pytest -q -m "not slow" -n 2 --dist loadfile

test: setup  ## everything that CI runs
	@ruff format --check . && ruff check . && mypy && lint-imports --no-cache && pytest -q -rs -n 2 --dist loadfile

clean:  ## remove what the pipeline made (not data, weights, or the embedding store)
	rm -rf artifacts
