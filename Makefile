# make run    set up, run a study (STUDY=config/studies/NAME.yaml for another, SCALE=small for
#             less of it), show its tables
# make report one page of a study that has run: results/report.html
# make test   set up, run all tests
# make lint   set up, check style and types
# make bench  set up, time the package beside what else one would use (minutes; a quiet machine)
# make clean  remove the environment and caches; results stay

PYTHON ?= python3
CORES ?= all
STUDY ?= config/config.yaml
SCALE ?= full
BIN := .venv/bin

.PHONY: run report test lint format bench clean

run: .venv/run.stamp
	@SKYMASK_SUMMARY=later $(BIN)/snakemake --cores $(CORES) --configfile $(STUDY) --config scale=$(SCALE)
	@$(BIN)/skymask summary $(STUDY) --scale $(SCALE)

report: .venv/run.stamp
	@$(BIN)/snakemake --cores 1 --configfile $(STUDY) --config scale=$(SCALE) --report results/report.html
	@echo "see results/report.html"

test: .venv/dev.stamp
	$(BIN)/pytest -n 2

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt Snakefile workflow/rules

bench: .venv/dev.stamp
	$(BIN)/python benchmarks/run.py --out results/bench/bench
	@echo "see results/bench/bench.md"

.venv/run.stamp: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skymask needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis src/skymask.egg-info
