# make run    set up, run a study (STUDY=config/studies/NAME.yaml for another, SCALE=small for
#             less of it), show its tables
# make report one page of a study that has run: results/report.html
# make test   set up, run the unit and contract tests and one small study (minutes)
# make test-all  set up, run all tests: also workflow, SLURM, browser and conda (half an hour)
# make lint   set up, check style, types, imports and words
# make words  set up, check spelling and the words of .codespell-banned.txt
# make docs   set up, build the documentation site: build/docs/index.html
# make slurm  set up, with what a SLURM cluster needs on top
# make schema set up, write the JSON Schema of study files anew: config/study.schema.json
# make pins   pin the packages anew, with their hashes (PINS=--upgrade for newer versions)
# make bench  set up, time the package and the alternatives to it (minutes; a quiet machine)
# make clean  remove the environment and caches; results stay

PYTHON ?= python3
CORES ?= all
STUDY ?= config/config.yaml
SCALE ?= full
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
HASHED := $(PIP) --require-hashes -r requirements.txt

.PHONY: run report test test-all lint words format schema docs bench slurm pins clean

run: .venv/run.stamp
	@# names the line of a file that Snakemake cannot read
	@$(BIN)/skymask status $(STUDY) --scale $(SCALE) > /dev/null
	@SKYMASK_SUMMARY=later $(BIN)/snakemake --cores $(CORES) --configfile $(STUDY) --config scale=$(SCALE)
	@$(BIN)/skymask summary $(STUDY) --scale $(SCALE)

report: .venv/run.stamp
	@$(BIN)/snakemake --cores 1 --configfile $(STUDY) --config scale=$(SCALE) --report results/report.html
	@echo "see results/report.html"

test: .venv/dev.stamp
	$(BIN)/pytest -n 2 --dist loadgroup -m "not workflow and not slurm and not slow"

test-all: .venv/dev.stamp .venv/docs.stamp
	$(BIN)/pytest -n 2 --dist loadgroup

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(MAKE) --no-print-directory words

words: .venv/dev.stamp
	$(BIN)/codespell *.md *.yml benchmarks config docs profiles src tests workflow Makefile Snakefile

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt Snakefile workflow

docs: .venv/docs.stamp
	$(BIN)/sphinx-build -q -n -W --keep-going docs build/docs
	@echo "see build/docs/index.html"

schema: .venv/run.stamp
	$(BIN)/python -m skymask.study.schema

bench: .venv/dev.stamp
	$(BIN)/python benchmarks/run.py --out results/bench/bench
	@echo "see results/bench/bench.md"

.venv/run.stamp: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skymask needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(HASHED)
	$(PIP) -r requirements-torch.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(HASHED) -r requirements-dev.txt
	touch $@

.venv/docs.stamp: requirements-docs.txt .venv/run.stamp
	$(HASHED) -r requirements-docs.txt
	touch $@

.venv/slurm.stamp: requirements-slurm.txt .venv/run.stamp
	$(HASHED) -r requirements-slurm.txt
	touch $@

slurm: .venv/slurm.stamp

# what pyproject.toml asks for, and all that it needs, for every platform and Python from 3.11 on;
# versions stay what they are unless PINS=--upgrade.  The files for dev, docs and slurm hold what
# they add, hence the long list of what is not written into them.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make pins" $(BIN)/uv pip compile pyproject.toml --quiet \
  --universal --python-version 3.11 --generate-hashes $(PINS) --extra workflow \
  -c requirements-torch.txt --no-emit-package torch --no-emit-package torchvision
ADDED = -c requirements.txt $$(sed -n 's/^\([^ ]*\)==.*/--no-emit-package \1/p' requirements.txt)

pins: .venv/dev.stamp
	$(COMPILE) -o requirements.txt
	$(COMPILE) --extra dev $(ADDED) -o requirements-dev.txt
	$(COMPILE) --extra docs $(ADDED) -c requirements-dev.txt -o requirements-docs.txt
	$(COMPILE) --extra slurm $(ADDED) -o requirements-slurm.txt
	# uv ends a file with the names of what it left out
	for file in requirements.txt requirements-dev.txt requirements-docs.txt requirements-slurm.txt; do \
	  sed '/^# The following packages were excluded/,$$d' $$file > .venv/pins && cp .venv/pins $$file; \
	done

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis src/skymask.egg-info
