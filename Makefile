# `make run` and `make test` are all that a fresh machine needs: python3 and make.

PYTHON ?= python3
PORT ?= 6010
KILLS ?= 200
HISTORIES ?= 50
OPS ?= 2000
JOBS ?= 20000
KILLS_EACH ?= 3
STATES ?= 250000
INPUTS ?= 1000000
CASES ?= 100
VENV := .venv
BIN := $(VENV)/bin
URL := http://127.0.0.1:$(PORT)
QUEUE := $(URL)/api/v2/queues/test_queue_1
# One stamp an extra; newer metadata installs again.
METADATA := setup.cfg setup.py pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help run install test check bench bench-peers torture torture-crash histories chaos \
    fuzz clients schemathesis python

help: ## list what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.installed ## install and start the daemon on 127.0.0.1, PORT=6010
	@mkdir -p var
	@if [ -z "$$SECRET$$SECRET_FILE" ] && [ ! -s var/secret ] \
	    && [ ! -e var/jobengine.queuedb ]; then \
	    (umask 077; $(BIN)/python -c 'import secrets; print(secrets.token_hex(32))' \
	        > var/secret) && echo "made a random secret: var/secret"; \
	fi
	@echo
	@echo "JobEngine at $(URL). Ctrl-C stops it. In another terminal:"
	@echo
	@echo "curl -i $(QUEUE)/jobs -H 'X-Name: service3' -H 'Content-Type: application/json' -d '{\"content\": {\"hello\": \"world\"}}'"
	@echo "curl -i -X POST $(QUEUE)/jobs/claim -H 'X-Name: service1'"
	@echo "curl -i $(QUEUE)/jobs -H 'X-Name: service1'"
	@echo
	@echo "All that it can be asked: $(URL)/docs"
	@echo
	@if [ -z "$$SECRET$$SECRET_FILE" ]; then export SECRET_FILE=var/secret; fi; \
	CONFIG_PATH=config.yml DB_PATH=var/jobengine.queuedb HOST=127.0.0.1 PORT=$(PORT) \
	    exec $(BIN)/jobengine serve

install: $(VENV)/.installed ## install the command .venv/bin/jobengine
	@echo "installed: $(BIN)/jobengine"

# Three at a time on two processors: many of them wait for a daemon.
test: $(VENV)/.installed-test var/client-venv/.installed ## run every test
	$(BIN)/pytest -n 3 --dist worksteal

check: $(VENV)/.installed-dev ## format, lint, types, architecture, docs and packaging
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_architecture.py tests/test_docs.py tests/test_packaging.py

bench: $(VENV)/.installed ## measure jobs a second, in process and over HTTP
	$(BIN)/python -m bench

bench-peers: $(VENV)/.installed var/bench-venv/.installed ## the same beside other queues
	$(BIN)/python -m bench peers batches sdk

# What cannot be installed is named as missing by the bench.
var/bench-venv/.installed: bench/peers/requirements.txt | python
	@mkdir -p var
	$(PYTHON) -m venv var/bench-venv
	-var/bench-venv/bin/python -m pip install --requirement $<
	@touch $@

torture: torture-crash $(VENV)/.installed-test ## kill it under load, KILLS=200, and judge what is left
	PYTHONPATH=tests/daemon $(BIN)/python tests/simulation/torture.py \
	    --kills $(KILLS) $(if $(SEED),--seed $(SEED))

torture-crash: $(VENV)/.installed-test ## cut its power in 250,000 ways, STATES=250000
	$(BIN)/python tests/simulation/crash.py --states $(STATES)

histories: $(VENV)/.installed-test ## record what 8 clients see at once, HISTORIES=50, and judge it
	PYTHONPATH=tests/daemon $(BIN)/python tests/simulation/histories.py \
	    --histories $(HISTORIES) --operations $(OPS) --kills $(KILLS_EACH) \
	    $(if $(SEED),--seed $(SEED))

chaos: $(VENV)/.installed-test ## kill 8 workers and their daemon, KILLS=200, while JOBS=20000 are done
	PYTHONPATH=tests/daemon $(BIN)/python tests/simulation/chaos.py \
	    --kills $(KILLS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.installed-test ## feed its parser 1,000,000 hostile inputs, INPUTS=1000000
	PYTHONPATH=tests/daemon $(BIN)/python tests/attacks/fuzz.py --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

clients: $(VENV)/.installed-test var/client-venv/.installed ## have a client made of /openapi.json, and use it
	$(BIN)/pytest tests/clients/test_generated_client.py

schemathesis: $(VENV)/.installed-test ## try each operation of /openapi.json, CASES=100
	FUZZ_CASES=$(CASES) $(if $(SEED),FUZZ_SEED=$(SEED)) $(BIN)/pytest --timeout 600 \
	    tests/clients/test_document.py

# Where it cannot be installed its test is skipped, and says so; the next make tries again.
var/client-venv/.installed: tests/clients/requirements.txt | python
	@mkdir -p var
	$(PYTHON) -m venv var/client-venv
	-var/client-venv/bin/python -m pip install --requirement $< && touch $@

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "JobEngine needs Python 3.11 or newer; '$(PYTHON)' is not." \
	        "Name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { \
	    echo "Python lacks its venv module; on Debian: apt install python3-venv"; \
	    exit 1; }

$(VENV)/bin/python: | python
	@echo "making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(METADATA) | $(VENV)/bin/python
	@echo "installing the package and what it needs ..."
	$(BIN)/python -m pip install --editable .
	@touch $@

$(VENV)/.installed-%: $(METADATA) | $(VENV)/bin/python
	@echo "installing the package with what [$*] needs ..."
	$(BIN)/python -m pip install --editable '.[$*]'
	@touch $@
