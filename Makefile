# Two commands: `make report` and `make test`. Everything happens in .venv, which `make setup` creates and completes.

PYTHON ?= python3
BIN := .venv/bin/python
P2V := $(BIN) -m p2vtools
PIP := $(BIN) -m pip install --quiet --disable-pip-version-check
# A test file or notebook at a time on each of up to four cores, with one thread each, in the given order: what takes
# long comes first.
PYTEST := OMP_NUM_THREADS=1 $(BIN) -m pytest -n logical --maxprocesses=4 --dist loadfile --no-loadscope-reorder

# All notebooks, workers and commands import the packages: compile them once, also where this variable is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup lock test test-browser chaos smoke report report-all evaluate app lab pictures clean

setup: .venv/.installed

# Where pip finds the build of torch for CPUs, it is taken; the other one needs the packages of CUDA.
# .venv/.installing marks an unfinished installation; the next one starts from an empty environment.
.venv/.installed: requirements.lock requirements-cpu.lock requirements-cuda.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@if [ -e .venv/.installing ] || ! $(BIN) -m pip --version >/dev/null 2>&1; then \
	  echo "creating .venv"; $(PYTHON) -m venv --clear --without-pip .venv && touch .venv/.installing && \
	  { $(BIN) -m ensurepip >/dev/null || { echo "this Python comes without pip (Debian: install python3-venv)" >&2; exit 1; }; } \
	fi
	@touch .venv/.installing
	@echo "downloading and installing the packages, torch among them: this takes some minutes"
	@$(PIP) --require-hashes --no-deps -r requirements-cpu.lock 2>/dev/null || true
	$(PIP) --require-hashes --no-deps -r requirements.lock
	@if $(BIN) -c 'import importlib.metadata as m, sys; sys.exit("cuda" not in str(m.requires("torch")))'; then \
	  $(PIP) --require-hashes --no-deps -r requirements-cuda.lock; \
	fi
	$(PIP) --no-deps --no-build-isolation --editable .
	@mv .venv/.installing .venv/.installed

# Writes the hashes of all packages again, after a change of requirements.txt; needs uv.
lock:
	$(PYTHON) .ci/lock.py

test: setup
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .
	$(BIN) -m mypy & $(P2V) data --scale smoke && wait $$!  # both use one core at first
	$(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --doctest-modules notebooks tests p2vlib p2vtools

# Needs Chromium, which apt-get installs for root on Debian, and playwright. Without them its tests are skipped, and say so.
test-browser: setup
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq install --yes --no-install-recommends chromium fonts-dejavu-core >/dev/null || true; \
	fi
	@$(BIN) -c 'import playwright' 2>/dev/null || \
	  $(BIN) -m pip install --quiet --disable-pip-version-check --editable '.[browser]' || true
	$(P2V) data --scale smoke
	$(PYTEST) tests/browser

# Kills on one core; races, full disks, no network and damaged files on another: docs/reliability.md.
MINUTES ?= 30
chaos: setup
	@$(BIN) -m tests.chaos --minutes $(MINUTES) --only kills & kills=$$!; \
	$(BIN) -m tests.chaos --minutes $(MINUTES) --only races disks networks mutations; others=$$?; \
	wait $$kills && exit $$others

smoke: setup
	$(P2V) data --scale smoke
	$(P2V) study --scale smoke

report: setup
	$(P2V) data --scale quick
	$(P2V) study --scale quick --only 00,01,02,03,03a,04,05

report-all: setup
	$(P2V) data --scale quick
	$(P2V) study --scale quick

evaluate: setup
	$(P2V) evaluate

app: setup
	$(P2V) app

lab: setup
	$(BIN) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00_start_here.ipynb

# The pictures of README and docs, except docs/page.webp, which `pytest tests/browser --docs` makes.
pictures: setup
	$(BIN) docs/pictures.py
	$(BIN) docs/layers.py

# Removes generated data, weights, stamps and smoke results; keeps .venv and the committed results.
clean:
	rm -rf .runs data/feet data/objects data/packed reports/smoke reports/grids reports/*/executed reports/*/html
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find p2vlib p2vtools tests notebooks benchmarks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
