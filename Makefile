# Needs make and a Python 3.11 or 3.12; everything else is installed into $(VENV).
# PYTHON=… and VENV=… on the command line choose another interpreter or another environment.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format env clean

VENV := .venv
PYTHON :=
BIN := $(VENV)/bin
# The name carries a checksum of what was installed: as long as it exists, there is nothing to install.
STAMP := $(VENV)/.decant-$(shell cat requirements.lock pyproject.toml | cksum | tr -s ' \t' '--')
# This checkout's package first, also where the environment is another checkout's (make VENV=../other/.venv test).
export PYTHONPATH := $(CURDIR)/src

help: ## what can be made (this list)
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-12s %s\n' "$$name" "$$text"; done

demo: $(STAMP) ## the whole chain on generated photos, from messy folder to verified ONNX file and report
	@echo "demo: runs python distill/run.py --study demo"
	@$(BIN)/python distill/run.py --study demo

test: lint ## lint, types and the whole test suite, offline
	@echo "test: pytest, without the tests that need a network or special hardware"
	@$(BIN)/python -m pytest -m "not external"

test-all: lint ## the same, with the tests that need a network or special hardware
	@echo "test-all: pytest, everything"
	@HF_HUB_OFFLINE=0 $(BIN)/python -m pytest

lint: $(STAMP) ## ruff (rules and format) and mypy
	@echo "lint: ruff check, ruff format --check, mypy on src"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## rewrite the sources in the format that lint asks for
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

env: $(STAMP) ## the environment alone
	@echo "env: $(VENV) holds the packages of requirements.lock"

clean: ## remove caches; runs/, results/ and $(VENV) stay
	@echo "clean: removes caches (runs/, results/ and $(VENV) stay)"
	@rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build
	@find . \( -path ./.git -o -path ./.venv -o -path ./runs -o -path ./data \) -prune -o \
		-name __pycache__ -type d -prune -exec rm -rf {} +

# No file prerequisites: a checkout gives sources new times, the checksum in the name knows better.
$(STAMP):
	@test -x $(BIN)/pip || { \
		for candidate in $(PYTHON) python3.11 python3.12 python3 python; do \
			"$$candidate" -c "import sys, ensurepip, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))" \
				>/dev/null 2>&1 && found=$$candidate && break; \
		done; \
		test -n "$$found" || { \
			echo "No Python 3.11 or 3.12 that runs and can make environments was found" \
				"(tried: $(PYTHON) python3.11 python3.12 python3 python)." >&2; \
			echo "Install one (on Debian and Ubuntu with its -venv package, such as python3.11-venv)" \
				"or name it: make PYTHON=/path/to/python3.11" >&2; \
			exit 2; }; \
		echo "env: creates $(VENV) with $$found"; \
		"$$found" -m venv $(VENV); }
	@ls -d $(VENV)/lib/python3.*/site-packages/torch >/dev/null 2>&1 || \
		echo "env: downloads PyTorch. On Linux it is a CUDA build, about 6 GB with its libraries:" \
			"under two minutes on a fast line."
	@echo "env: installs the packages pinned in requirements.lock into $(VENV)"
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	@PYTHONPATH= $(BIN)/python -m pip show --quiet decant 2>/dev/null || \
		PYTHONPATH= $(BIN)/python -m pip install --disable-pip-version-check --quiet \
			--no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.decant-*
	@touch $@
