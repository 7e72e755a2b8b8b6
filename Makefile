# `make train` and `make test` set up by themselves: a virtual environment in .venv with the locked packages.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
EXPERIMENT ?= oprl_maze
SEEDS ?= 16

.PHONY: train test check lint types studies studies-quick lock clean

train: $(STAMP)
	$(VENV)/bin/prefrl-train experiment=$(EXPERIMENT) num_seeds=$(SEEDS) $(OPTIONS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n auto --dist loadfile

check: lint types test

lint: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(STAMP)
	$(VENV)/bin/mypy

# What pages repeat from the code: options, rooms, commands of studies.
.PHONY: pages
pages: $(STAMP)
	$(VENV)/bin/python docs/make_pages.py

$(STAMP): pyproject.toml requirements.lock
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[dev]' -c requirements.lock
	touch $@

# Every table and chart of docs/results.md, anew: it says how long that takes, and goes on when it is stopped.
studies: $(STAMP)
	$(VENV)/bin/prefrl-study all --jobs 2 --readme docs/results.md

studies-quick: $(STAMP)
	$(VENV)/bin/prefrl-study all --quick --jobs 2

# The lock names plain torch 2.13.0: no build of it, and no place to fetch it from.
# The other two are what the extra `ray` needs: with newer ones locked, pip searches for it without an end.
lock: $(STAMP)
	printf '%s\n' 'torch==2.13.0' 'cloudpickle<3' 'python-dateutil<3' > $(VENV)/pin.txt
	echo "# Versions that work together, made by \`make lock\`; constraints of \`pip install -e '.[dev]' -c requirements.lock\`." > $(VENV)/new.lock
	$(VENV)/bin/uv pip compile --quiet --universal --extra dev pyproject.toml -c $(VENV)/pin.txt --no-emit-package prefrl --no-header --no-annotate >> $(VENV)/new.lock
	mv $(VENV)/new.lock requirements.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
