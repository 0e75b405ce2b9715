# Plain `make` lists the targets. They call the program, which makes what is missing or out of date itself.

COMPETITION ?= house-prices
PRESET      ?= auto
MODEL       ?=
TRIALS      ?= 100
MINUTES     ?=
STORAGE     ?=
CLUSTER     ?=
ROWS        ?=
DEVICE      ?= auto
UPLOAD      ?= 1
YES         ?=
AGAIN       ?=
DATASET     ?=
FILES       ?=
WHEELS      ?=
WEIGHTS     ?=
VENV        ?= .venv
PYTHON      ?= python3

# A variable's text never becomes a part of a command: make does not expand it, recipes read "$$NAME" from the
# environment, and the program checks it. Only VENV is a part of targets and commands.
override SETTINGS := COMPETITION PRESET MODEL TRIALS MINUTES STORAGE CLUSTER ROWS DEVICE UPLOAD YES AGAIN DATASET FILES WHEELS WEIGHTS VENV PYTHON
override GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(SETTINGS) $(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(SETTINGS)

override VENV := $(strip $(VENV))
override SIGNS := ; & | < > ( ) $$ ` ' " * ? [ ] { } \# : = % ! ^ \ ,
ifneq ($(words $(VENV))$(filter -%,$(VENV))$(strip $(foreach sign,$(SIGNS),$(findstring $(sign),$(VENV)))),1)
$(error VENV must be the path of a folder, without blanks and signs that mean something to a shell)
endif

# $(call switch,NAME,option if it is on,option if it is off)
override switch = $(if $(filter-out 0 1 no yes false true,$($(1)))$(word 2,$($(1))),$(error $(1) must be 1 or 0),$(if $(filter 1 yes true,$($(1))),$(2),$(3)))

override PIPELINE    := $(VENV)/bin/python -m pipeline
override INSTALL     := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
override SETUP       := $(VENV)/.installed
override SETUP_DEV   := $(VENV)/.installed-dev
override SETUP_BOOST := $(VENV)/.installed-boosting
override SETUP_FOUND := $(VENV)/.installed-foundation
override SETUP_DOCS  := $(VENV)/.installed-docs
override SETUP_DASH  := $(VENV)/.installed-dashboard
override SETUP_MANY  := $(VENV)/.installed-cluster
override IS_BEST     := $(filter best,$(PRESET))
override FOR_STORAGE := $(if $(filter postgres%,$(STORAGE)),$(SETUP_MANY))
override NEEDED      := $(SETUP) $(if $(CLUSTER),$(SETUP_MANY)) $(if $(IS_BEST)$(filter xgboost catboost,$(MODEL)),$(SETUP_BOOST)) \
  $(if $(filter tabicl tabpfn,$(MODEL)),$(SETUP_FOUND))
override NAMED       := --competition="$$COMPETITION"
override CONFIGURED  := $(NAMED) --preset="$$PRESET" $${MODEL:+--model="$$MODEL"}
override WHERE       := --device="$$DEVICE" $${CLUSTER:+--cluster="$$CLUSTER"}
override RUN         := $(CONFIGURED) $(WHERE)
override RACE        := $(RUN) $${MINUTES:+--minutes="$$MINUTES"}
# what the commands without --dataset need first
override FROM_DATASET := $(if $(DATASET),$(PIPELINE) data $(NAMED) --dataset="$$DATASET" &&)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data features tune train final submit kernel report leaderboard choose doctor runs tensorboard dashboard \
  test test-quick check docs bench clean

help: ## list the targets
	@awk 'BEGIN {printf "make <target>"} /^[A-Z]+ *\?=/ {printf " [%s=%s]", $$1, $$3} END {print ""}' Makefile
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

setup: $(SETUP) ## create the environment in VENV

data: $(SETUP) ## fetch the raw files, or only FILES=NAME,NAME; write a spec if there is none
	@$(PIPELINE) data $(NAMED) $${DATASET:+--dataset="$$DATASET"} $${FILES:+--files="$$FILES"}

features: $(SETUP) ## check the raw files; write typed tables and folds
	@$(FROM_DATASET) $(PIPELINE) features $(NAMED)

# the program reads STORAGE from the environment: options can be seen by all users of the machine
tune: $(NEEDED) $(FOR_STORAGE) ## tune MODEL over TRIALS trials; continues where it stopped
	@$(FROM_DATASET) $(PIPELINE) tune $(NAMED) $(WHERE) --trials="$$TRIALS" $${MODEL:+--model="$$MODEL"} \
	  $${ROWS:+--rows="$$ROWS"} $(if $(filter-out auto,$(PRESET)),--preset="$$PRESET")

train: $(NEEDED) ## cross-validate PRESET, or MODEL
	@$(FROM_DATASET) $(PIPELINE) train $(RUN)

final: $(NEEDED) ## final training and the submission file, without upload
	@$(FROM_DATASET) $(PIPELINE) final $(RACE)

# about a minute; PRESET=best MINUTES=10 trains as many models as fit into that time
submit: $(NEEDED) ## everything from a fresh clone to a checked submission, and its upload (UPLOAD=0: no upload)
	@$(FROM_DATASET) $(PIPELINE) submit $(RACE) \
	  $(call switch,UPLOAD,,--no-upload) $(call switch,YES,--yes) $(call switch,AGAIN,--again)

kernel: $(NEEDED) ## final training on Kaggle's GPU, output checked and submitted (UPLOAD=0: write the script only)
	@$(FROM_DATASET) $(PIPELINE) kernel $(CONFIGURED) $${WHEELS:+--wheels="$$WHEELS"} $${WEIGHTS:+--weights="$$WEIGHTS"} \
	  $(call switch,UPLOAD,,--no-push) $(call switch,YES,--yes) $(call switch,AGAIN,--submit-again)

report: $(SETUP) ## write the page with everything known of the competition
	@$(PIPELINE) report $(NAMED)

leaderboard: $(SETUP) ## show your rank on Kaggle, the medal lines, cv against public score
	@$(PIPELINE) leaderboard $(NAMED)

choose: $(SETUP) ## say which two submissions to select for the private leaderboard, and why
	@$(PIPELINE) choose $(NAMED)

doctor: $(SETUP) ## show what was found on this machine and at Kaggle, and what is wrong
	@$(PIPELINE) doctor $(NAMED) $${CLUSTER:+--cluster="$$CLUSTER"}

runs: $(SETUP) ## list all runs of the competition, best first
	@$(PIPELINE) runs $(NAMED)

tensorboard: $(SETUP) ## show training curves in the browser, also of a run in training
	@$(PIPELINE) tensorboard $(NAMED)

dashboard: $(SETUP_DASH) $(FOR_STORAGE) ## show the study of MODEL in the browser, also while it is tuned
	@$(PIPELINE) dashboard $(NAMED) $${MODEL:+--model="$$MODEL"}

test: $(SETUP_DEV) ## run all tests
	@$(VENV)/bin/python -m pytest -n logical --dist worksteal

test-quick: $(SETUP_DEV) ## run the tests that are not marked slow, in under a minute
	@$(VENV)/bin/python -m pytest -n logical --dist worksteal -m "not slow"

check: $(SETUP_DEV) ## run ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

docs: $(SETUP_DOCS) ## build the documentation into build/site; warnings and broken links are errors
	@$(VENV)/bin/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

bench: $(SETUP_DEV) ## run the benchmarks against plain PyTorch loops, about ten minutes
	@$(VENV)/bin/python benchmarks/kfold.py
	@$(VENV)/bin/python benchmarks/packed.py --epochs 40
	@$(VENV)/bin/python benchmarks/tuning.py

clean: $(SETUP) ## remove features, runs and the page of the competition; keep raw files, spec, studies and submissions
	@$(PIPELINE) clean $(NAMED)

$(VENV)/bin/python:
	@"$$PYTHON" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}; name another with PYTHON=")'
	@"$$PYTHON" -m venv $(VENV)

$(SETUP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "setup: installing into $(VENV); a minute or two" >&2
	@$(INSTALL) -e .
	@touch $@

$(SETUP_DEV): $(SETUP)
	@echo "setup: installing the development tools into $(VENV)" >&2
	@$(INSTALL) -e '.[dev,boosting,text,foundation]'
	@touch $@ $(SETUP_BOOST) $(SETUP_FOUND)

$(SETUP_DASH): $(SETUP)
	@echo "setup: installing Optuna's dashboard into $(VENV)" >&2
	@$(INSTALL) -e '.[dashboard]'
	@touch $@

$(SETUP_MANY): $(SETUP)
	@echo "setup: installing Dask and PostgreSQL's driver into $(VENV)" >&2
	@$(INSTALL) -e '.[cluster]'
	@touch $@

$(SETUP_DOCS): $(SETUP)
	@echo "setup: installing mkdocs into $(VENV)" >&2
	@$(INSTALL) -e '.[docs]'
	@touch $@

# 40 seconds and 1 GB, half of it NCCL for XGBoost: installed only where PRESET or MODEL needs it
$(SETUP_BOOST): $(SETUP)
	@echo "setup: installing XGBoost and CatBoost into $(VENV)" >&2
	@$(INSTALL) -e '.[boosting]' && touch $@ || echo "setup: they could not be installed; PRESET=best continues without them" >&2

$(SETUP_FOUND): $(SETUP)
	@echo "setup: installing TabICL and TabPFN, without weights, into $(VENV)" >&2
	@$(INSTALL) -e '.[foundation]'
	@touch $@
