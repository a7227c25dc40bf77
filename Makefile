# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test test-minio lint torture bench constraints clean

help:
	@echo "make demo     run the main job on embedded PostgreSQL and a folder of blobs"
	@echo "make test     run the tests"
	@echo "make test-minio  the blob store's tests against MINIO_ENDPOINT (default: docker compose's MinIO)"
	@echo "make lint     ruff, mypy --strict, import layers"
	@echo "make torture  the long tests with kills and faults"
	@echo "make bench    the benchmarks, as ratios to a peer and to the physical limit"

demo: .venv/run.stamp
	@$(BIN)/daicho demo

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal -m "not torture"

# The buckets it makes there are named daicho-test-…, and are removed again.
test-minio: .venv/dev.stamp
	MINIO_ENDPOINT=$${MINIO_ENDPOINT:-localhost:9000} \
		$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal -k named_server tests/blobstore

torture: .venv/dev.stamp
	$(BIN)/python -m pytest -m torture

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench.stamp
	$(BIN)/python -m tests.bench.append
	$(BIN)/python -m tests.bench.rebuild --undisturbed 10
	$(BIN)/python -m tests.bench.audit --events 1000000
	$(BIN)/python -m tests.bench.blobs

# Dependencies are pinned with hashes; the project itself is installed without any.
.venv/%.stamp: constraints/%.txt pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes -r $<
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found; set PYTHON=/its/path"; exit 2; }
	$(PYTHON) -m venv .venv

# Renews the pins (UPGRADE=--upgrade raises them). Needs pip-tools; no index address is written.
PIN := pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	--no-emit-find-links --no-emit-trusted-host --no-emit-options $(UPGRADE) --no-emit-index-url
constraints:
	$(PIN) --extra embedded --extra demo -o constraints/run.txt pyproject.toml constraints/build.in
	$(PIN) --extra embedded --extra demo --extra zstd --extra parquet --extra test --extra lint -c constraints/run.txt \
		-o constraints/dev.txt pyproject.toml constraints/build.in
	$(PIN) --extra embedded --extra demo --extra bench -c constraints/run.txt \
		-o constraints/bench.txt pyproject.toml constraints/build.in

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
