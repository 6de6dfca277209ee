# What a person or CI runs. Every variable can be set on the command line: make evaluate MASTER=spark://host:7077

.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos scale lint audit-deps audit bench crossval ablation evaluate lock clean

MASTER ?= local[2]
DATA   ?= runs/demo/dataset
MODEL  ?= runs/demo/model
REPORT ?= runs/demo/report
INPUT  ?= $(PHOTOGRAPHS)
OUT    ?= runs/$@$(if $(filter bench,$@),.json)
CONFIG ?= conf/default.yaml

PHOTOGRAPHS := runs/demo/photographs

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What set-up found out about starting a JVM; read when a target runs, since set-up is the first that it does.
export SPARK_SUBMIT_OPTS = $(shell cat .venv/jvm-options 2>/dev/null)
SUBMIT = spark-submit --master '$(MASTER)' --properties-file conf/spark-defaults.conf \
  --driver-java-options -Dlog4j2.configurationFile=conf/log4j2.properties

# The demo and the tests stay on this machine, whatever its host name resolves to.
demo test: export SPARK_LOCAL_IP = 127.0.0.1

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18
	@echo '  Variables: MASTER=$(MASTER) DATA=$(DATA) MODEL=$(MODEL) REPORT=$(REPORT) ARGS= PYTEST_ARGS= PYTHON='

setup: ## make .venv from the lock file, build Horovod and petastorm (PYTHON=python3.12 chooses the interpreter)
	@scripts/setup.sh

demo: setup ## drawn photographs -> dataset -> model on two ranks -> report
	@test -d '$(PHOTOGRAPHS)' || python scripts/sample_photographs.py '$(PHOTOGRAPHS)'
	@$(SUBMIT) jobs/preprocess.py input.path='$(PHOTOGRAPHS)' output.path='$(DATA)' overwrite=true
	@$(SUBMIT) jobs/train.py data.path='$(DATA)' model.path='$(MODEL)' train.num_processes=2 overwrite=true
	@$(MAKE) --no-print-directory evaluate ARGS='overwrite=true $(ARGS)'

test: setup ## all tests (PYTEST_ARGS goes to pytest)
	@pytest -q $(PYTEST_ARGS)

chaos: setup ## kill -9 processes of training runs at random moments on a standalone cluster (ARGS='--times 10 --seed 0')
	@python scripts/chaos.py $(ARGS)

scale: setup ## what ten times the photographs cost: time, and the driver's memory (ARGS='--photographs 10000 100000')
	@python scripts/scale.py $(ARGS)

bench: setup ## each stage against this machine's limit, on photographs made of INPUT, into OUT=FILE.json (ARGS='--seconds 5')
	@python scripts/bench.py --input '$(INPUT)' --out '$(OUT)' $(ARGS)

lint: setup ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

audit-deps: setup ## known advisories against the pinned packages; scripts/accepted_advisories.txt has those let pass
	@python scripts/audit_dependencies.py $(ARGS)

audit: setup ## what is wrong with the photographs of INPUT, into REPORT [GROUPS_CSV=table.csv]
	@$(SUBMIT) jobs/audit.py input.path='$(INPUT)' report.path='$(REPORT)' \
	  $(if $(GROUPS_CSV),input.groups='$(GROUPS_CSV)') $(ARGS)

crossval: setup ## grouped cross-validation of INPUT, into OUT [GROUPS_CSV=table.csv] [CONFIG=conf/default.yaml]
	@$(SUBMIT) jobs/crossval.py --config '$(CONFIG)' input.path='$(INPUT)' output.path='$(OUT)' \
	  $(if $(GROUPS_CSV),input.groups='$(GROUPS_CSV)') $(ARGS)

ablation: setup ## cross-validation of INPUT with each option switched on alone, into OUT [GROUPS_CSV=table.csv] [CONFIG=...] (ARGS='--only ...')
	@python scripts/ablation.py --master '$(MASTER)' --config '$(CONFIG)' --input '$(INPUT)' --out '$(OUT)' \
	  $(if $(GROUPS_CSV),--groups '$(GROUPS_CSV)') $(ARGS)

evaluate: setup ## score DATA with MODEL into REPORT (ARGS goes to the job)
	@$(SUBMIT) jobs/evaluate.py data.path='$(DATA)' model.path='$(MODEL)' report.path='$(REPORT)' $(ARGS)

UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command 'make lock'

lock: ## pin and hash anew what pyproject.toml asks for (needs uv)
	@$(UV_COMPILE) --group build -o requirements-build.lock
	@$(UV_COMPILE) --group dev -c requirements-build.lock -o requirements.lock pyproject.toml
	@sed -n 's/^pretrained = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(UV_COMPILE) -o requirements-pretrained.lock -

clean: ## remove what was made here: .venv, runs and caches (the built wheels stay in the user's cache)
	@rm -rf .venv runs spark-warehouse metastore_db derby.log .pytest_cache .ruff_cache .mypy_cache .hypothesis
