# All targets work in .venv; nothing is installed outside it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	pyproject.toml -q
# One thread per process: results must not depend on their number, and the tests use a process per core.
PYTEST := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest
PARALLEL := -n auto --dist loadfile
WAITING := -n 3 --dist loadgroup
INPUTS ?= 10000
LEAGUE ?=
QUALITY ?= $(if $(LEAGUE),--league $(LEAGUE)) --streams cards:7 --days 60 --out out/quality --docs docs/explanation/quality.md
SPEED ?=
PYTHONS ?= $(PYTHON)
CHAOS ?= --seed 1 --kills 100 --rebalances 30 --broker-restarts 10 --minutes 40
SEEDS ?= 1000
START ?= 0

.DEFAULT_GOAL := help
.PHONY: help env demo test test-fast coverage test-kube test-image test-browser lint check hooks docs wheels soak bench-quality speed chaos fuzz lock clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY) ## create .venv with the packages of requirements.lock, and detector in it

demo: $(READY) ## run a broker, traffic with frauds and the daemon in one process (DEMO_SECONDS=n to stop it)
	$(BIN)/detector demo

test: $(READY) ## run all tests; those on a real Kafka need Java and Maven, those of the chart Go, of the proxy nginx: skipped without
	$(BIN)/python -m detector compile  # once: processes that start together would all compile
	$(PYTEST) $(PARALLEL) tests/unit
	$(PYTEST) -n auto tests/simulation
	$(PYTEST) tests/chart
	$(PYTEST) tests/proxy
	$(PYTEST) $(WAITING) tests/kafka

test-fast: $(READY) ## run the unit tests on all cores
	$(PYTEST) $(PARALLEL) tests/unit

coverage: $(READY) ## run the unit tests and show which lines none of them reaches
	$(PYTEST) $(PARALLEL) tests/unit --cov --cov-report=term-missing

test-kube: $(READY) ## install, upgrade, drain and scale the chart on a real control plane; needs Go, builds for ten minutes at first
	$(PYTEST) tests/kube

test-image: $(READY) ## build the image by buildah and run the demo in it, unprivileged; needs root, buildah and mmdebstrap
	$(PYTEST) -s tests/image

test-browser: $(READY) ## read the console's pages in a real Chromium, with axe-core; some ten minutes
	$(PYTEST) tests/browser

lint: $(READY) ## run ruff and mypy --strict, and check the links of the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/build.py --no-api --out build/site

check: lint test ## run lint and test

hooks: $(READY) ## check each commit with ruff and mypy (pre-commit must be installed)
	pre-commit install

docs: $(READY) ## write the generated tables in docs/, and build the site in build/site, with the API reference
	$(BIN)/python docs/generate.py
	$(BIN)/python deploy/helm/schema.py
	$(BIN)/python docs/build.py --out build/site

wheels: $(READY) ## build wheel and sdist in build/dist; run the unit tests from the wheel with PYTHONS='python3.12 ...'
	$(BIN)/python -m tests.wheels --out build/dist $(addprefix --python ,$(PYTHONS)) -- $(PARALLEL)

soak: $(READY) ## simulate SEEDS=n seeds from START=k on, beyond those of the tests
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m tests.simulation --seeds $(SEEDS) --start $(START)

bench-quality: $(READY) ## compare with streaming peers: patterns of fraud, with LEAGUE=DIR also its streams; see docs/explanation/quality.md
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m benchmarks.quality.run $(QUALITY)

speed: $(READY) ## measure events/s, costs, growth, latency and scale-out; SPEED=--quick for a short run
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	for part in core alerts growth end_to_end latency scale_out; do \
		OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed.$$part $(SPEED) || exit 1; \
	done

chaos: $(READY) ## cause accidents on a real Kafka, then check every published byte (CHAOS='--kills n ...')
	$(BIN)/python -m benchmarks.chaos.run $(CHAOS)

fuzz: $(READY) ## fuzz everything that reads foreign bytes, with INPUTS=n inputs for each reader; uses atheris if it is installed
	$(BIN)/python -m benchmarks.fuzz.run --inputs $(INPUTS)

lock: ## update all locks after a change of pyproject.toml, keeping the versions that still fit (needs uv)
	$(COMPILE) --extra avro --extra console --extra demo --extra docs --extra test --extra parquet --extra protobuf --extra notebook --extra sklearn --extra umap -o requirements.lock
	$(COMPILE) --extra avro --extra console --extra demo --extra docs --extra test --extra parquet --extra protobuf --extra notebook --extra sklearn --extra umap --extra bench -o requirements-bench.lock
	printf 'setuptools>=77\nwheel\npybind11\nnumpy\n' | $(COMPILE:pyproject.toml=-) -c requirements.lock -o requirements-build.lock

clean: ## remove .venv, caches and build outputs
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# hnswlib is distributed as source only, hence the compiler. The editable install gets setuptools by build isolation.
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
