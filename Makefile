# Plain `make` lists the targets. Rules whose target is a file make that file from the files they read;
# `train`, `final` and `submit` ask the program itself, because a run's name holds a hash of its configuration.

COMPETITION ?= house-prices
PRESET      ?= auto
MODEL       ?=
TRIALS      ?= 100
MINUTES     ?= 10
STORAGE     ?=
ROWS        ?=
DEVICE      ?= auto
UPLOAD      ?= 1
YES         ?=
AGAIN       ?=
DATASET     ?=
WHEELS      ?=
VENV        ?= .venv
PYTHON      ?= python3

# A variable's text goes into commands: it is checked before make expands it, so that nothing in it can run.
SETTINGS := COMPETITION PRESET MODEL TRIALS MINUTES STORAGE ROWS DEVICE UPLOAD YES AGAIN DATASET WHEELS VENV PYTHON
SAFE := a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z \
  0 1 2 3 4 5 6 7 8 9 . _ - / : + @ = % ~ , ? &
remove = $(if $(1),$(call remove,$(wordlist 2,100,$(1)),$(subst $(firstword $(1)),,$(2))),$(2))
unsafe = $(call remove,$(SAFE),$(value $(1)))
$(foreach one,$(SETTINGS),$(if $(call unsafe,$(one)),$(error $(one) has characters that no setting has: use letters, digits and . _ - / : + @ = % ~ , ? &)))

# the slug of an address such as https://www.kaggle.com/competitions/titanic/data
override COMPETITION := $(firstword $(subst /, ,$(subst ?, ,$(lastword $(subst /competitions/, ,$(subst /c/, /competitions/,$(COMPETITION)))))))

$(foreach one,? & : = % @ ~ + $(if $(filter . ..,$(COMPETITION)),$(COMPETITION)),$(if $(findstring $(one),$(COMPETITION)),$(error COMPETITION=$(COMPETITION) is not the name of a competition, such as titanic)))

PIPELINE   := '$(VENV)/bin/python' -m pipeline
DATA       := data/$(COMPETITION)
SPEC       := $(DATA)/competition.toml
RAW        := $(DATA)/raw/source.json
FEATURES   := $(DATA)/features/manifest.json
SETUP      := $(VENV)/.installed
SETUP_DEV  := $(VENV)/.installed-dev
SETUP_BOOST := $(VENV)/.installed-boosting
SETUP_DOCS := $(VENV)/.installed-docs
INSTALL    := '$(VENV)/bin/python' -m pip install --quiet --disable-pip-version-check -c constraints.txt
IS_BEST    := $(filter best,$(PRESET))
BOOSTING    = $(if $(IS_BEST)$(filter lightgbm xgboost catboost,$(MODEL)),$(SETUP_BOOST))
BEST_FLAGS  = $(if $(IS_BEST),--minutes '$(MINUTES)')
RUN_FLAGS  := --competition '$(COMPETITION)' --preset '$(PRESET)' --device '$(DEVICE)' $(if $(MODEL),--model '$(MODEL)')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data features tune train final submit kernel leaderboard doctor runs test test-quick check docs bench clean

help: ## list the targets
	@echo "make <target> [COMPETITION=$(COMPETITION)] [PRESET=$(PRESET)] [MODEL=] [TRIALS=$(TRIALS)] [MINUTES=$(MINUTES)] [DEVICE=$(DEVICE)] [UPLOAD=$(UPLOAD)] [YES=] [AGAIN=] [DATASET=] [WHEELS=] [VENV=$(VENV)]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP) ## create the environment in VENV
data: $(RAW) $(SPEC) ## fetch the raw files; write a spec if there is none
features: $(FEATURES) ## check the raw files; write typed tables and folds

tune: $(FEATURES) $(BOOSTING) ## tune MODEL over TRIALS trials; continues where it stopped
	@$(PIPELINE) tune --competition '$(COMPETITION)' --device '$(DEVICE)' --trials '$(TRIALS)' \
	  $(if $(MODEL),--model '$(MODEL)') $(if $(STORAGE),--storage '$(STORAGE)') $(if $(ROWS),--rows '$(ROWS)') $(if $(filter-out auto,$(PRESET)),--preset '$(PRESET)')

train: $(FEATURES) $(BOOSTING) ## cross-validate PRESET, or MODEL
	@$(PIPELINE) train $(RUN_FLAGS)

final: $(FEATURES) $(BOOSTING) ## final training and the submission file, without upload
	@$(PIPELINE) final $(RUN_FLAGS) $(BEST_FLAGS)

# PRESET=best MINUTES=10 trains as many models as fit into that time
submit: $(FEATURES) $(BOOSTING) ## everything from a fresh clone to a checked submission, and its upload (UPLOAD=0: no upload)
	@$(PIPELINE) submit $(RUN_FLAGS) $(BEST_FLAGS) $(if $(filter 0 no false,$(UPLOAD)),--no-upload) $(if $(filter-out 0 no false,$(YES)),--yes) \
	  $(if $(filter-out 0 no false,$(AGAIN)),--again)

kernel: $(FEATURES) $(BOOSTING) ## final training on Kaggle's GPU, output checked and submitted (UPLOAD=0: write the script only)
	@$(PIPELINE) kernel --competition '$(COMPETITION)' --preset '$(PRESET)' $(if $(MODEL),--model '$(MODEL)') \
	  $(if $(WHEELS),--wheels '$(WHEELS)') $(if $(filter 0 no false,$(UPLOAD)),--no-push) $(if $(filter-out 0 no false,$(YES)),--yes) \
	  $(if $(filter-out 0 no false,$(AGAIN)),--submit-again)

leaderboard: $(SETUP) ## show your rank on Kaggle, the medal lines, cv against public score
	@$(PIPELINE) leaderboard --competition '$(COMPETITION)'

doctor: $(SETUP) ## show what was found on this machine and at Kaggle, and what is wrong
	@$(PIPELINE) doctor --competition '$(COMPETITION)'

runs: $(SETUP) ## list all runs of the competition, best first
	@$(PIPELINE) runs --competition '$(COMPETITION)'

test: $(SETUP_DEV) ## run all tests
	@'$(VENV)/bin/python' -m pytest

test-quick: $(SETUP_DEV) ## run the tests that are not marked slow, in under a minute
	@'$(VENV)/bin/python' -m pytest -m "not slow"

check: $(SETUP_DEV) ## run ruff and mypy
	@'$(VENV)/bin/ruff' check .
	@'$(VENV)/bin/ruff' format --check .
	@'$(VENV)/bin/mypy'

docs: $(SETUP_DOCS) ## build the documentation into build/site; warnings and broken links are errors
	@'$(VENV)/bin/python' docs/generate.py
	@NO_MKDOCS_2_WARNING=1 '$(VENV)/bin/mkdocs' build --strict

bench: $(SETUP_DEV) ## run the benchmarks against plain PyTorch loops, about ten minutes
	@'$(VENV)/bin/python' benchmarks/kfold.py
	@'$(VENV)/bin/python' benchmarks/packed.py --epochs 40
	@'$(VENV)/bin/python' benchmarks/tuning.py

clean: $(SETUP) ## remove features and runs of the competition; keep raw files, spec, studies and submissions
	@$(PIPELINE) clean --competition '$(COMPETITION)'

$(VENV)/bin/python:
	@'$(PYTHON)' -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}; name another with PYTHON=")'
	@'$(PYTHON)' -m venv '$(VENV)'

$(SETUP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "setup: installing into $(VENV); a minute or two" >&2
	@$(INSTALL) -e .
	@touch '$@'

$(SETUP_DEV): $(SETUP)
	@echo "setup: installing the development tools into $(VENV)" >&2
	@$(INSTALL) -e '.[dev,boosting]'
	@touch '$@' '$(SETUP_BOOST)'

$(SETUP_DOCS): $(SETUP)
	@echo "setup: installing mkdocs into $(VENV)" >&2
	@$(INSTALL) -e '.[docs]'
	@touch '$@'

# 40 seconds and 1 GB, half of it NCCL for XGBoost: installed only where PRESET or MODEL needs it
$(SETUP_BOOST): $(SETUP)
	@echo "setup: installing LightGBM, XGBoost and CatBoost into $(VENV)" >&2
	@$(INSTALL) -e '.[boosting]' && touch '$@' || echo "setup: they could not be installed; PRESET=best continues without them" >&2

$(RAW): | $(SETUP)
	@$(PIPELINE) data --competition '$(COMPETITION)' $(if $(DATASET),--dataset '$(DATASET)')

$(SPEC): | $(RAW)
	@$(PIPELINE) data --competition '$(COMPETITION)'

$(FEATURES): $(SPEC) $(RAW) | $(SETUP)
	@$(PIPELINE) features --competition '$(COMPETITION)'
	@touch '$@'
