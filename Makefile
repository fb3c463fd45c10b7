# Everything runs in .venv, which is made on first use from Python 3.11 or later and the package registries.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
# Processes that the tests start are ready sooner where Python keeps bytecode.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo test torture check lint types imports docs plugin release screenshots bench-tagging bench-search bench-video bench-pool bench-images bench-store bench-forecast bench-cluster lock check-wheels clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/.ready: requirements.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@

demo: .venv/.ready ## tags two generated videos through a sandbox Stash and two sandbox endpoints
	$(BIN)/python -m sandbox.demo

# Without npm, the tests of the pages inside Stash are skipped and say so.
tests/ui/node_modules/.package-lock.json: tests/ui/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix tests/ui --ignore-scripts --no-audit --no-fund --silent || true; fi

test: .venv/.ready tests/ui/node_modules/.package-lock.json ## all tests; ARGS="-k name" and the like are passed on
	$(BIN)/python -m pytest -n auto $(ARGS)

RUNS ?= 200
torture: .venv/.ready ## kills tasks with SIGKILL at random moments and runs them again, RUNS=200 times; then the thorough tests
	HAVEN_TORTURE_RUNS=$(RUNS) $(BIN)/python -m pytest -n auto tests/torture $(ARGS)
	$(BIN)/python -m pytest -n auto --thorough -m "thorough or hypothesis" $(ARGS)

lint: .venv/.ready ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready ## mypy, strict
	$(BIN)/mypy

imports: .venv/.ready ## who may import whom
	$(BIN)/lint-imports

check: lint types imports test ## everything that must hold before a change lands

plugin: .venv/.ready ## the zip that users unpack into Stash's plugins folder: dist/ahavenvlmconnector.zip
	$(BIN)/python -m tools.package

release: .venv/.ready ## what is published of the last commit, the same bytes each time: the index for Stash, the zips, the engine's packages, in dist/release
	$(BIN)/python -m tools.release

bench-tagging: .venv/.ready ## what is found in generated videos, and in how much model time; writes it into the docs
	$(BIN)/python -m benchmarks.tagging

bench-search: .venv/.ready ## the search beside other ways to look, simulated and real, about 20 minutes; writes it into the docs
	$(BIN)/python -m benchmarks.search $(ARGS)

bench-video: .venv/.ready ## what reading frames costs, beside OpenCV and decord, and how good cut hints are; writes it into the docs
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	$(BIN)/python -m benchmarks.video

.venv-pool/.ready: requirements-bench-pool.txt
	$(PYTHON) -m venv .venv-pool
	-.venv-pool/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench-pool.txt
	touch $@

bench-pool: .venv/.ready .venv-pool/.ready ## many endpoints at once, beside other clients, about 20 minutes; writes it into the docs
	$(BIN)/python -m benchmarks.pool --others .venv-pool/bin/python $(ARGS)

bench-images: .venv/.ready ## Tag Images over 10,000 pictures: slots in use, memory, writes, about 5 minutes; writes it into the docs
	$(BIN)/python -m benchmarks.images $(ARGS)

bench-store: .venv/.ready ## what a million stored answers cost, and a video under other rules, about ten minutes; writes it into the docs
	$(BIN)/python -m benchmarks.store $(ARGS)

bench-forecast: .venv/.ready ## how right the forecast of a run is, about 25 minutes; writes it into the docs; ARGS=--fit finds its constants
	$(BIN)/python -m benchmarks.forecast $(ARGS)

bench-cluster: .venv/.ready ## a cluster beside one process: makespan, lost workers, costs, and a thousand workers on paper, about ten minutes; writes it into the docs
	$(BIN)/python -m benchmarks.cluster $(ARGS)

docs: .venv/.ready ## rewrites what the docs show that follows from the code, and draws the picture of a search
	$(BIN)/python -m tools.generated_docs
	$(BIN)/python -m tools.draw_search
	$(BIN)/python -m tools.draw_report

screenshots: .venv/.ready ## pictures of the pages in a browser, in dist/screenshots; STASH_BINARY=PATH takes them in a real Stash, and those of the docs
	mkdir -p dist/screenshots
	SCREENSHOTS=$(CURDIR)/dist/screenshots $(BIN)/python -m pytest -q $(if $(STASH_BINARY),tests/stash/test_pages.py tests/stash/test_install.py::test_eight_clicks_lead_to_the_first_tags,tests/end_to_end/test_first_visit.py)
	$(if $(STASH_BINARY),$(BIN)/python -m tools.draw_pages)

lock: .venv/.ready ## rewrites the lock files: the newest versions that requirements.txt and requirements-cluster.txt allow, with hashes; needs Python 3.11
	$(BIN)/python -m tools.lock

check-wheels: .venv/.ready ## the lock files have wheels for every Python and platform, the index has the same, and all fit in 300 MB
	$(BIN)/python -m tools.check_wheels

clean: ## removes what the targets above made
	rm -rf tests/ui/node_modules .venv .venv-pool .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
