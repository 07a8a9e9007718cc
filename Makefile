# `make demo` and `make test` do all their own set-up; they need Python 3.11, make, pip and the package index, nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test test-fast chaos lint docs bench bench-gpu test-gpu clean

help: ## this page
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## a .venv with every pinned dependency

# The demo needs neither torch nor the tests' tools; who runs the tests first has both.
$(VENV)/.demo: EXTRA := demo
$(VENV)/.ready: EXTRA := dev
$(VENV)/.demo $(VENV)/.ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "segfill needs Python 3.11 or 3.12, $(VENV) has $$($(BIN)/python -V); try make PYTHON=python3.11"; exit 1; }
	@echo "installing into $(VENV) ..."
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[$(EXTRA)]'
	@touch $@

demo: $(VENV)/.demo ## the three jobs on real photographs, into demo/
	@$(BIN)/python -m jobs.demo demo

# exiftool, a second reader of metadata, a browser for the report page, and Slurm. Tests that need them skip without them. Tried
# once, and only as root, who is asked for nothing.
SYSTEM := libimage-exiftool-perl chromium chromium-driver slurmctld slurmd slurm-client munge
$(VENV)/.system: $(VENV)/.ready
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && \
		! { command -v exiftool && command -v chromium && command -v chromedriver && command -v sbatch && command -v slurmd; } >/dev/null; then \
		echo "installing $(SYSTEM) ..."; export DEBIAN_FRONTEND=noninteractive; \
		{ timeout 120 apt-get update -qq; for package in $(SYSTEM); do \
		timeout 300 apt-get install -qq -y --no-install-recommends $$package; done; } >/dev/null 2>&1 || true; fi
	@touch $@

test: setup $(VENV)/.system lint ## linters, types, import layers, all tests
	$(BIN)/python -m pytest -n 2 --dist=worksteal

test-fast: setup ## unit tests and configs, without Ray and without slow ones: under a minute
	$(BIN)/python -m pytest -n 2 --dist=worksteal -p tests.fakes.no_ray -m "not slow and not chaos" tests/unit tests/conf

chaos: setup ## every promise under faults, the long form; the table into RELIABILITY.md
	$(BIN)/python -m pytest -n 3 --dist=worksteal -m "chaos or promise" --promises=RELIABILITY.md

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: setup ## docs/config.md, from the fields of the configs
	$(BIN)/python -m jobs.config_page

bench: setup ## the benchmark against the hand-written loop and the peers, into BENCHMARKS.md
	$(BIN)/python -m tests.bench.bench

FAMILIES := own_networks onnx_model hf_semantic hf_universal hf_prompt looks tiles torchvision diffusion network_fills
test-gpu: setup ## the tests of the model families once more, on a GPU, and those that need one
	$(BIN)/python -m pytest --gpu tests/gpu $(FAMILIES:%=tests/flow/test_%.py)

bench-gpu: setup ## the networks' GPU figures against a bare loop, into BENCHMARKS.md; says so without a GPU
	$(BIN)/python -m tests.bench.gpu

clean: ## remove what the targets above made (not the .venv)
	rm -rf demo .bench
