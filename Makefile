# Everything happens in .venv; nothing is installed outside it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	pyproject.toml -q
INPUTS ?= 100000
QUALITY ?= --streams simulate:7 --out out/quality
SPEED ?=
CHAOS ?= --seed 1 --kills 100 --rebalances 30 --broker-restarts 10 --minutes 40
SEEDS ?= 1000
START ?= 0

.DEFAULT_GOAL := help
.PHONY: help env demo test lint check soak bench-quality speed chaos fuzz lock clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY) ## create .venv with exactly what requirements.lock names, and detector in it

demo: $(READY) ## a broker, traffic with frauds and the daemon in one process (DEMO_SECONDS=n to stop it)
	$(BIN)/detector demo

test: $(READY) ## all tests; those on a real Kafka need Java and Maven, and skip themselves without
	$(BIN)/python -m pytest

lint: $(READY) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test ## lint and test

soak: $(READY) ## SEEDS=n simulations from seed START=k on, beyond those of the tests
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m tests.simulation --seeds $(SEEDS) --start $(START)

bench-quality: $(READY) ## the service beside its streaming peers; QUALITY='--streams ...', see docs/QUALITY.md
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m benchmarks.quality.run $(QUALITY)

speed: $(READY) ## events/s, costs, growth, latency and scale-out; SPEED=--quick to see that it works
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	for part in core growth end_to_end latency scale_out; do \
		OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed.$$part $(SPEED) || exit 1; \
	done

chaos: $(READY) ## accidents on a real Kafka, then every published byte checked (CHAOS='--kills n ...')
	$(BIN)/python -m benchmarks.chaos.run $(CHAOS)

fuzz: $(READY) ## everything that reads what the world wrote, with INPUTS=n inputs; atheris is used if it is there
	$(BIN)/python -m benchmarks.fuzz.run --inputs $(INPUTS)

lock: ## bring both locks in line with pyproject.toml, keeping the versions that still fit (needs uv)
	$(COMPILE) --extra demo --extra test -o requirements.lock
	$(COMPILE) --extra demo --extra test --extra bench -o requirements-bench.lock

clean: ## remove .venv, caches and what builds leave behind
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# hnswlib comes as source only, hence the compiler. The editable install takes setuptools by build isolation.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) must be Python 3.11 or later: make env PYTHON=python3.11" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || \
		{ echo "make: no C++ compiler, hnswlib needs one: install g++ or clang++ (or set CXX)" >&2; exit 1; }
	@echo "Installing into .venv, a minute or two: hnswlib is compiled"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
