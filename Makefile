# The table of contents. `make help` reads it aloud.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test e2e cluster-up cluster-shell cluster-down prove bench golden check format crds reference lock image clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lateen needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 …"; exit 1; }
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## watch a canary shift real traffic between two versions, on this machine
	@$(BIN)/lateen demo

test: $(READY) ## run all tests, small sizes
	$(BIN)/pytest -n auto -q

# ARGS are pytest's, or the command to run. docs/e2e.md says what a machine needs, and how the node is made.
e2e: $(READY) ## run the tests that need a cluster, on a real Kubernetes of one node (or KUBECONFIG=FILE: on yours)
	@$(BIN)/python -m e2e.cluster test -- $(ARGS)

cluster-up: $(READY) ## start that node and leave it up; the first time builds Kubernetes, several minutes
	@$(BIN)/python -m e2e.cluster up $(ARGS)

cluster-shell: $(READY) ## a shell inside of it, with kubectl (ARGS="kubectl get pods -A": one command)
	@$(BIN)/python -m e2e.cluster shell -- $(ARGS)

cluster-down: $(READY) ## end it; nothing of it is left
	@$(BIN)/python -m e2e.cluster down

# Both ledgers are printed, whatever the first one says. `make e2e ARGS="-m point --full"` is the second one alone.
prove: LONG := $(if $(FULL),--fullest --timeout 36000,--timeout 3600)
prove: $(READY) ## run every numbered point at full size, here and on a real Kubernetes, and print what was shown (FULL=1: sizes that take hours, too)
	@shown=0; \
	$(BIN)/pytest -q -p no:randomly -m point --full --bench $(LONG) || shown=1; \
	$(BIN)/python -m e2e.cluster test -- -q -p no:randomly -m point --full $(LONG) || shown=1; \
	exit $$shown

bench: $(READY) ## measure what things cost, on this machine
	$(BIN)/python -m bench

golden: $(READY) ## write the golden files anew; look at the difference before committing
	$(BIN)/python -m tests.golden

check: $(READY) ## formatting, lint, types, import contracts, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

format: $(READY) ## format the code and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: $(READY) ## print the CRDs from the model into crds/
	$(BIN)/python -m controlplane.model.crd crds

reference: $(READY) ## print docs/cli.md from the parser, and the tables of docs/security.md from the code
	$(BIN)/python -m controlplane.cli.reference docs/cli.md
	$(BIN)/python -m tests.threats.page docs/security.md

LOCKED := --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

lock: $(READY) ## resolve the dependencies anew into requirements/
	$(BIN)/uv pip compile $(LOCKED) --group dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile $(LOCKED) --constraint requirements/dev.txt pyproject.toml -o requirements/image.txt

image: $(READY) ## write Lateen's container image to dist/lateen.tar, without an engine (with one: Containerfile)
	@$(BIN)/python -m tools.images $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
