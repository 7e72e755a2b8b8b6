# `make train` and `make test` set up by themselves: a virtual environment in .venv with the locked packages.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
EXPERIMENT ?= oprl_maze

.PHONY: train test check lint types lock clean

train: $(STAMP)
	$(VENV)/bin/prefrl-train experiment=$(EXPERIMENT) $(OPTIONS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n auto --dist loadfile

check: lint types test

lint: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(STAMP)
	$(VENV)/bin/mypy

$(STAMP): pyproject.toml requirements.lock
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[dev]' -c requirements.lock
	touch $@

# The lock names plain torch 2.13.0: no build of it, and no place to fetch it from.
lock: $(STAMP)
	echo "torch==2.13.0" > $(VENV)/pin.txt
	echo "# Versions that work together, made by \`make lock\`; constraints of \`pip install -e '.[dev]' -c requirements.lock\`." > $(VENV)/new.lock
	$(VENV)/bin/uv pip compile --quiet --universal --extra dev pyproject.toml -c $(VENV)/pin.txt --no-emit-package prefrl --no-header --no-annotate >> $(VENV)/new.lock
	mv $(VENV)/new.lock requirements.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
