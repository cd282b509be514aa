# Mens: every command of the project. `make help` lists them; `make demo` and `make test` are the two that matter.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := src operator/src trainer-image/src server-image/src hack benchmarks tests
CLUSTER := $(PYTHON) -m hack.cluster
CLUSTER_NAME ?= demo

.PHONY: help
help: ## Show this help
	@if [ -t 1 ]; then bold='\033[1m' plain='\033[0m'; else bold= plain=; fi; \
	awk -v bold="$$bold" -v plain="$$plain" 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %s%-16s%s %s\n", bold, $$1, plain, $$2}' $(MAKEFILE_LIST)

# -- the two commands ---------------------------------------------------------------------------

.PHONY: demo demo-down test
demo: ## The main job end to end on a real local cluster: corpus, train, serve, ask
	@export MENS_STARTED=$$(date +%s); $(PYTHON) -m hack.demo check; $(PYTHON) -m hack.setup demo; $(BIN)/python -m hack.demo up

demo-down: ## Stop the demo's cluster, or remove the demo from yours; only caches remain
	@$(PYTHON) -m hack.demo down

test: ## All test tiers that this machine allows, and a table of what ran
	@$(PYTHON) -m hack.tiers setup $(TIERS)
	@$(BIN)/python -m hack.tiers run --after-setup $(TIERS)

.PHONY: soak
soak: ## The long forms of tests, which CI leaves out: an hour and more
	@$(PYTHON) -m hack.tiers setup soak
	@$(BIN)/python -m hack.tiers run --after-setup soak

# -- working on the code --------------------------------------------------------------------------

.PHONY: init fmt lint type unit verify crds lock
init: ## Make the virtual environment from the hashed requirements, or check that it is up to date
	@$(PYTHON) -m hack.setup init

fmt: init ## Format the code
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix-only --quiet $(SOURCES)

lint: init ## Check format, lint rules, American spelling and the direction of imports
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/codespell
	@$(BIN)/lint-imports

type: init ## Check types (mypy strict)
	@$(BIN)/mypy

unit: init ## Only the fast tests: no root, no network, no cluster
	@$(BIN)/python -m hack.tiers run unit scenario

verify: lint type ## Lint, types, and everything generated is up to date
	@$(BIN)/python -m mens.crdgen --check

crds: init ## Regenerate CRDs, chart copies and the API reference from the models
	@$(BIN)/python -m mens.crdgen

lock: init ## Compile the hashed requirement files from pyproject.toml
	@$(BIN)/python -m hack.setup lock

.PHONY: bench-artifacts
bench-artifacts: init ## Benchmark: publish and fetch an artifact, beside boto3
	@$(BIN)/python -m benchmarks.artifacts

.PHONY: release
release: init ## Dry run of a release: versions, notes, wheel, chart, SBOMs and checksums in out/release
	@$(BIN)/python -m hack.release

# -- images and cluster ---------------------------------------------------------------------------

.PHONY: images cluster-up cluster-down cluster-status cluster-shell e2e preflight
images: ## Build the container images (needs no registry) and import them into the cluster, if it is up
	@$(PYTHON) -m hack.images build

cluster-up: ## Start a real local Kubernetes, or use the one that KUBECONFIG names
	@$(CLUSTER) up --name $(CLUSTER_NAME)

cluster-down: ## Stop it; only caches remain
	@$(CLUSTER) down --name $(CLUSTER_NAME)

cluster-status: ## Show what is running
	@$(CLUSTER) status

cluster-shell: ## A shell whose kubectl and helm talk to it
	@$(CLUSTER) shell --name $(CLUSTER_NAME)

preflight: ## Show what this machine lacks for each tier, and how to get it
	@$(PYTHON) -m hack.tiers preflight $(TIERS)

e2e: ## Only the tests that run whole jobs on the cluster
	@$(PYTHON) -m hack.tiers setup e2e
	@$(BIN)/python -m hack.tiers run --after-setup e2e

.PHONY: prune clean
prune: ## Delete programs, compiled packages and images that the checkout no longer names
	@$(CLUSTER) prune
	@$(PYTHON) -m hack.images prune

clean: ## Remove what the build left in the checkout (caches elsewhere remain)
	@rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
