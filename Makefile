# A thin shell over Snakemake, pytest and the `posttrain` command; `make help` lists what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
PROFILE ?= cpu
CORES ?= 2
PORT ?= 8000

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export TOKENIZERS_PARALLELISM := false
export TQDM_MININTERVAL ?= 10
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# Training asks for and returns tensors of megabytes all the time; in large pages they cost much less (glibc from 2.35 on, elsewhere ignored).
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

# The target comes first: --config would swallow it.
snakemake = snakemake $(1) --cores $(CORES) --rerun-incomplete --config profile=$(PROFILE) $(2)

.PHONY: help book test invariant reproduce figures figure verify serve bench lint lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "Options: PROFILE=smoke|cpu|gpu (now $(PROFILE)), CORES=$(CORES), PYTHON=$(PYTHON), PORT=$(PORT)"
	@echo "Models are never downloaded unless HF_HUB_OFFLINE=0 is given."

book: .venv/.installed ## run what is missing, draw the figures, build book/_build/html
	$(call snakemake,book)

test: .venv/.installed ## run the tests with coverage of the library
	python -m pytest --ignore=tests/benchmarks --cov=posttrain --cov-report=term-missing:skip-covered --cov-fail-under=90

invariant: .venv/.installed ## repeat every published arm, shortened, against what was recorded
	OMP_NUM_THREADS=1 python -W ignore -m tests.invariant.published

reproduce: .venv/.installed ## train everything anew, stored results ignored, and build the book (use PROFILE=smoke)
	@if [ -f build/reproduce/$(PROFILE)/book/_build/html/index.html ]; then rm -rf build/reproduce/$(PROFILE); fi # else go on where it stopped
	$(call snakemake,book,fresh=1)

figures: .venv/.installed ## draw every figure
	$(call snakemake,figures)

figure: .venv/.installed ## draw one figure, e.g. make figure ID=fig05
	@test -n "$(ID)" || { echo "Which one? For example: make figure ID=fig05" >&2; exit 2; }
	$(call snakemake,figures,figure=$(ID))

verify: .venv/.installed ## check that the stored results belong to this code
	posttrain verify

serve: .venv/.installed ## show the built book at http://localhost:8000
	python -m http.server --bind 127.0.0.1 --directory book/_build/html $(PORT)

bench: .venv/.installed ## measure speed (never part of the tests)
	python -m pytest tests/benchmarks -s

lint: .venv/.installed ## compile with warnings as errors, check that notebooks carry no outputs
	python -W error -m compileall -q -f lib tests tools book/_ext
	nbstripout --verify notebooks/*.ipynb

lock: ## write requirements.lock and environment.yml anew from pyproject.toml
	$(PYTHON) tools/lock.py

clean: ## remove what the book's build made; stored results and the environment stay
	rm -rf build book/_build

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "This project needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	       "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps -e .
	@touch $@
