# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# every file that is installed is one that the locks name by its hash; they are complete, so nothing is resolved
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
LOCKED := $(INSTALL) --require-hashes --requirement
GROUPS := build dev stack bench lock audit
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url

.PHONY: setup demo test stack-test container-test failure-test failure-test-short lint format bench docs lock audit secrets clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt constraints/build.txt constraints/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"isophase needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) constraints.txt --requirement constraints/build.txt --requirement constraints/dev.txt
	$(INSTALL) --no-build-isolation --editable .
	touch $@

demo: setup
	rm -rf results/quickstart.zarr results/quickstart.figures results/time-of-day.zarr results/time-of-day.figures
	$(BIN)/isophase study quickstart
	$(BIN)/isophase study time-of-day

test: setup
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

# What docker-compose.yml reads: random secrets, where there are none. The folder is closed; the files are not, as the
# users of containers are others.
ISOPHASE_SECRETS ?= secrets
RANDOM_TEXT := $(PYTHON) -c 'import secrets; print(secrets.token_hex(24))'
secrets:
	install -d -m 700 $(ISOPHASE_SECRETS)
	cd $(ISOPHASE_SECRETS) && for name in postgres_password prefect_auth aws_access_key_id aws_secret_access_key; do \
	    test -e $$name || { text=$$($(RANDOM_TEXT)) && case $$name in *_auth) text=admin:$$text; esac && \
	    printf %s "$$text" > $$name && chmod 644 $$name; } || exit; done

# Needs Debian's postgresql, docker-compose, chromium and netcat-openbsd.
stack-test: setup
	$(LOCKED) constraints/stack.txt
	$(BIN)/python -m pytest tests/stack/stack.py

# The part of failure-test that CI runs every time: a kill -9 of `run`, `reduce` and `reduce --refine` each, and of what a
# run started, and disks that fill up or cannot be written. Six to seven minutes of processor time.
failure-test-short: setup
	ISOPHASE_KILLS=3 $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile tests/failures/kills.py tests/failures/failures.py -k "killed_command or killed_flow or disk or written"

# Builds the images and runs the stack in containers, with Debian's docker.io and docker-compose, as root.
container-test: setup
	$(LOCKED) constraints/stack.txt
	$(BIN)/python -m pytest -s tests/containers/containers.py

# Asks pypi.org for known vulnerabilities of everything that the locks name; what cannot be asked is a failure too.
audit: setup
	$(LOCKED) constraints/audit.txt
	for lock in constraints.txt $(GROUPS:%=constraints/%.txt); do \
	    $(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement $$lock || failed=1; done; test -z "$$failed"

# Kills processes, fills a small disk and makes a file system read-only, for which it has to run as root.
failure-test: setup
	$(LOCKED) constraints/stack.txt
	$(BIN)/python -m pytest -s tests/failures/soak.py tests/failures/failures.py tests/failures/kills.py tests/failures/many.py
	ISOPHASE_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest tests/test_malformed.py --timeout=1800

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(LOCKED) constraints/bench.txt
	$(BIN)/python -m benchmarks

# The studies of docs/lattices.md, as far as their stores lack points, then its tables, numbers and figures.
LATTICES := quickstart growth domains sharing slots delay kuramoto orbits dynamics fronts nucleus
docs: setup
	for study in $(LATTICES); do $(BIN)/isophase study $$study || exit; done
	$(BIN)/python docs/lattices.py

# Makes the locks again. What they pin stays while pyproject.toml allows it: delete a package's lines to take its newest version.
lock: setup
	$(LOCKED) constraints/lock.txt
	$(LOCK) pyproject.toml --extra train --extra s3 --output-file constraints.txt
	for group in $(GROUPS); do $(LOCK) --group pyproject.toml:$$group --constraint constraints.txt --output-file constraints/$$group.txt || exit; done

clean:
	rm -rf $(VENV) results build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
