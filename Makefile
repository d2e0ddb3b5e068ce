# make demo       build, simulate and verify the model that comes with edgec
# make test       all default tests            make test-full   the slow ones too
# make check      what CI runs: linters, types, C format, make test
# make format     reformat Python and C        make bench       tables of speed, and a plot
# make clean      remove what was built        make distclean   remove .venv too
#
# Needs python3 (3.11 to 3.13) and make; everything else, the C compiler included, comes with pip into .venv.

VENV ?= .venv
JOBS ?= 2
OUT ?= out/stories-siracusa
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest -n $(JOBS) --dist worksteal
C_FILES = $(shell find kernels templates -name '*.[ch]' -o -name '*.inc')

# A stamp is newer than pyproject.toml as long as the environment is what pyproject.toml asks for.
DEMO := $(VENV)/.demo-ready
DEV := $(VENV)/.dev-ready

.PHONY: help demo test test-full check lint format bench clean distclean
help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: $(DEMO)
	$(VENV)/bin/edgec build stories --target siracusa -o $(OUT)
	$(VENV)/bin/edgec simulate $(OUT) --prompt "Once upon a time" --tokens 48
	$(VENV)/bin/edgec verify $(OUT)

test: $(DEV)
	$(PYTEST)

test-full: $(DEV)
	$(PYTEST) -m "slow or not slow"

check: lint test

lint: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES)

format: $(DEV)
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .
	$(VENV)/bin/clang-format -i $(C_FILES)

bench: $(DEV)
	$(PY) benchmarks/run.py --json out/bench.json
	$(PY) benchmarks/chip.py --json out/chip.json --plot out/chip.png

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

$(PY):
	@for p in "$${PYTHON:-python3}" python3.13 python3.12 python3.11; do \
	    if "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	        echo "$$p -m venv $(VENV)"; exec "$$p" -m venv $(VENV); \
	    fi; \
	done; echo "edgec needs python3 of version 3.11, 3.12 or 3.13; name one with PYTHON=..." >&2; exit 1

$(DEMO): pyproject.toml | $(PY)
	$(PY) -m pip install -q -e .
	@touch $@

$(DEV): pyproject.toml | $(PY)
	$(PY) -m pip install -q -e '.[dev]'
	@touch $@ $(DEMO)
