# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test stack-test failure-test lint format bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"isophase needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,s3,dev]'
	touch $@

demo: setup
	rm -rf results/quickstart.zarr results/quickstart.figures results/time-of-day.zarr results/time-of-day.figures
	$(BIN)/isophase study quickstart
	$(BIN)/isophase study time-of-day

test: setup
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

# Needs Debian's postgresql, docker-compose, chromium and netcat-openbsd.
stack-test: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[stack]'
	$(BIN)/python -m pytest tests/stack/stack.py

# Kills processes, fills a small disk and makes a file system read-only, for which it has to run as root.
failure-test: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[stack]'
	$(BIN)/python -m pytest -s tests/failures/soak.py tests/failures/failures.py
	ISOPHASE_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest tests/test_malformed.py --timeout=1800

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) results build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
