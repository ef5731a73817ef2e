# Every verb sets up what it needs: on a machine with Python 3.11+, git and make, start with any.
#   make train ARGS="--stage2.steps 500"     options of the recipe
#   make test ARGS="-k sampler"                options of pytest
#   make clean CONFIRM=yes                     delete outputs/ and stop the local cluster

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help setup train test check ui evidence clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
EXTRAS ?= dev
# CPU wheels of torch are a tenth of the CUDA ones; an unreachable index costs 3 s and is skipped.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TEST_JOBS ?= 2
UI_PORT ?= 5000
ARGS ?=
HAS_GPU := $(shell command -v nvidia-smi)
MARKS ?= $(if $(HAS_GPU),,not gpu)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MOTION_OUTPUTS ?= $(CURDIR)/outputs

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(VENV)/.installed ## create .venv and install the pinned packages

$(VENV)/.installed: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then
	  echo "no Python found: install Python 3.11, or name one: make setup PYTHON=/path/to/python3.11"; exit 1
	fi
	if ! "$(PYTHON)" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))'; then
	  echo "$(PYTHON) is $$("$(PYTHON)" --version): 3.11 to 3.13 is needed: make setup PYTHON=python3.11"; exit 1
	fi
	[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	index=()
	if [ -z "$(HAS_GPU)" ] && timeout 3 $(BIN)/python -c \
	    'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/torch/", timeout=3)' \
	    "$(TORCH_INDEX)" 2>/dev/null; then
	  index=(--extra-index-url "$(TORCH_INDEX)")
	fi
	echo "installing into $(VENV) (log: $(VENV)/install.log) ..."
	start=$$SECONDS
	if ! $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	    "$${index[@]}" -c constraints.txt -e ".[$(EXTRAS)]" >$(VENV)/install.log 2>&1; then
	  tail -n 15 $(VENV)/install.log; echo "the installation failed; the whole log: $(VENV)/install.log"; exit 1
	fi
	awk '/^ *Downloading .*\(/ { n = $$(NF-1); sub(/\(/, "", n)
	       unit = /GB\)/ ? 1000 : /MB\)/ ? 1 : 0.001; total += n * unit; files++ }
	     END { printf "downloaded %d packages, %.0f MB", files, total }' $(VENV)/install.log
	echo "; $(VENV) takes $$(du -sh $(VENV) | cut -f1); took $$((SECONDS - start)) s"
	touch $@

train: setup ## data, encoding, training and export of the first system, on a local Ray cluster
	@$(BIN)/python -m cluster.local start
	$(BIN)/python -m cluster.local submit rayjobs/train_comovi.py $(ARGS)
	echo
	echo "exports    $$MOTION_OUTPUTS/exports     motion sample \"a person waves\" -o wave.mp4"
	echo "curves     make ui, then http://127.0.0.1:$(UI_PORT)"
	$(BIN)/python -m cluster.local status

test: setup ## run the tests (ARGS="-k name" selects)
	@$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadscope -m "$(MARKS)" $(ARGS)

check: setup ## ruff and pyright
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

ui: setup ## MLflow in the browser, on this machine only
	@exec $(BIN)/mlflow ui --workers 1 --host 127.0.0.1 --port $(UI_PORT) \
	  --backend-store-uri "$$($(BIN)/python -c 'from motion.paths import mlflow_uri; print(mlflow_uri())')"

evidence: setup ## the measured comparison behind docs/results.md
	@$(BIN)/python -m cluster.local start
	$(BIN)/python -m cluster.local submit rayjobs/evidence_comovi.py $(ARGS)

clean: ## stop the local cluster and delete outputs/ (needs CONFIRM=yes)
	@if [ "$(CONFIRM)" != yes ]; then
	  echo "this stops the local cluster and deletes $(CURDIR)/outputs: make clean CONFIRM=yes"; exit 1
	fi
	[ ! -x $(BIN)/python ] || $(BIN)/python -m cluster.local stop
	rm -rf -- "$(CURDIR)/outputs"  # never what MOTION_OUTPUTS names: that may hold anything
