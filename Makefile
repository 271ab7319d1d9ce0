# A thin shell over Snakemake, pytest and the `posttrain` command; `make help` lists what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
PROFILE ?= cpu
CORES ?= 2
PORT ?= 8000
FRESH ?= 0

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/tools$(if $(PYTHONPATH),:$(PYTHONPATH))
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export TOKENIZERS_PARALLELISM := false
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PYTHONWARNINGS ?= ignore::FutureWarning
# Training asks for and returns tensors of megabytes all the time; in large pages they cost much less (glibc from 2.35 on).
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

profile = '$(subst ','\'',$(PROFILE))'
# With no core at all Snakemake waits for ever.
enough = case "$(CORES)" in all|[1-9]|[1-9][0-9]|[1-9][0-9][0-9]) ;; \
	*) echo "CORES is how many jobs run at once: 1 or more, or all, not '$(CORES)'" >&2; exit 2;; esac;

# Locks are our own and die with their process, so Snakemake's, which do not, are off. The target comes first: --config would swallow it.
snakemake = $(enough) snakemake $(1) --cores $(CORES) --nolock --rerun-incomplete --rerun-triggers mtime params input \
	--logger calm --config profile=$(profile) stale=$(STALE) $(2)

# What a profile starts from that no foundation is: made once.
MODEL = $(if $(filter smollm%,$(PROFILE)),build/models/smollm2-135m/model.safetensors)

# Beside the environment, where nothing but `make cluster` finds it.
PLUGIN = build/cluster/snakemake_executor_plugin_slurm

.PHONY: help book test reproduce runs figures figure pages verify serve bench invariant kills cluster exercises export-play pdf lint lock versions clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo "Options: PROFILE=smoke|cpu|gpu (now $(PROFILE)), CORES=$(CORES), PYTHON=$(PYTHON), PORT=$(PORT)"
	@echo "Models are never downloaded unless HF_HUB_OFFLINE=0 is given."

book: .venv/.installed $(MODEL) ## run what is missing, draw the figures, build book/_build/html (STALE=show: with superseded results)
	@$(call snakemake,book)

test: .venv/.installed ## run the tests, a process a core, with coverage of the library
	python -m pytest --ignore=tests/benchmarks --ignore=tests/pages -n $(CORES) --dist loadfile --no-loadscope-reorder --cov=posttrain \
	  --cov-report=term-missing:skip-covered --cov-fail-under=95

pages: .venv/.installed ## look at every built page in a headless browser, narrow and wide, light and dark (after make book)
	python -m pytest tests/pages -n $(CORES) -rs

pdf: .venv/.installed ## the built book as one PDF, by a headless browser (after make book)
	python tools/pdf.py

reproduce: .venv/.installed ## make everything anew, stored results ignored, and build the book (use PROFILE=smoke)
	@posttrain clear --profile $(profile) # a finished one; one that was cut off goes on
	@$(call snakemake,book,fresh=1)

runs: .venv/.installed $(MODEL) ## carry out what is missing or superseded, and no more
	@$(call snakemake,results,remake=1)

figures: .venv/.installed ## draw every figure
	@$(call snakemake,figures)

figure: .venv/.installed ## draw one figure, e.g. make figure ID=fig05 (FRESH=1: from nothing, its runs alone)
	@test -n "$(ID)" || { echo "Which one? For example: make figure ID=fig05" >&2; exit 2; }
	@$(call snakemake,figures,figure=$(ID) fresh=$(FRESH))

verify: .venv/.installed ## check that stored results are whole, unedited and current
	@posttrain verify --profile $(profile)

serve: .venv/.installed ## show the built book at http://localhost:8000
	python -m http.server --bind 127.0.0.1 --directory book/_build/html $(PORT)

bench: .venv/.installed ## measure speed (never part of the tests)
	python -m pytest tests/benchmarks -s

invariant: .venv/.installed ## repeat every published arm, shortened, against what was recorded
	OMP_NUM_THREADS=1 python -W ignore -m tests.invariant.published

export-play: .venv/.installed ## make what the page "Play the model" computes with, and what its models say to every hand
	python tools/export_play.py
	python tools/every_hand.py

exercises: .venv/.installed ## carry out the chapters' exercises and keep what comes of them (two hours for all)
	python tools/exercises.py

kills: .venv/.installed ## kill every kind of job at many moments, go on, and compare (half an hour)
	python -m tests.kills

cluster: .venv/.installed $(PLUGIN) ## run a study through Slurm, started here, with jobs ended in the middle, and compare (minutes)
	python -m tests.cluster

lint: .venv/.installed ## check format and style of the code, and that notebooks carry no outputs
	ruff format --check --quiet lib tests tools book/_ext notebooks
	ruff check --quiet lib tests tools book/_ext
	ruff check --quiet --select F notebooks
	nbstripout --verify notebooks/*.ipynb

lock: .venv/.installed ## write requirements.lock anew from pyproject.toml; UPGRADE=1 takes the newest versions
	uv pip compile --quiet --universal $(if $(UPGRADE),--upgrade) --extra book --extra test --extra dev \
	  --no-annotate --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

versions: .venv/.installed ## plan, verify and tests without torch, under each supported Python of this machine
	python tools/versions.py

clean: ## remove pages, executed chapters and logs; results, unfinished runs, adapters and the environment stay
	rm -rf build/site build/logs build/stamps build/records book/_build
	@echo "Kept: data/, build/state (unfinished runs), build/adapters, build/profiles, build/reproduce."

build/models/%/model.safetensors: .venv/.installed
	python -m tools.smollm $(@D)

$(PLUGIN): .venv/.installed
	python -m pip install --quiet --no-deps --upgrade --target build/cluster \
	  snakemake-executor-plugin-slurm==2.8.0 snakemake-executor-plugin-slurm-jobstep==0.6.1
	@touch $@

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "This project needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	       "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps -e .
	@touch $@
