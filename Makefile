# Everything starts here: `make` prints the targets. Each of them makes what it needs first, so a
# fresh clone on a machine with Python 3.11 or newer and make needs nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Where `make test-all` keeps implementations by others; tests read the same variable.
export REFQUANT_ORACLES ?= $(CURDIR)/.oracles
# Whom `make test-all` compared with, and on how many values.
COMPARED := build/comparisons.json

.DEFAULT_GOAL := help
.PHONY: help run test test-all check matrix bench docs api demo-model oracles clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY)  ## write text with the embedded model
	@$(BIN)/refquant run demo --prompt "It is a truth universally acknowledged, that" -n 80 --repetition-penalty 1.15 --echo --stats

test: $(READY)  ## the tests that need only this folder
	@$(BIN)/pytest -q -n 2

test-all: $(READY) oracles  ## all tests: also slow ones, and comparisons with others' code
	@$(BIN)/python tools/oracles.py --report
	@$(BIN)/refquant pull smollm2-135m || echo "SmolLM2: not pulled, its tests are skipped"
	@rm -f $(COMPARED)
	@REFQUANT_COMPARISONS=$(COMPARED) $(BIN)/pytest -q -n 2 -m ""; tests=$$?; \
		$(BIN)/python -m tests.comparisons $(COMPARED) && exit $$tests

check: $(READY)  ## style, types, import directions, house rules, generated text, rules with files
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m spec.generate --check
	@$(BIN)/pytest -q tests/house tests/test_rq_chapters.py tests/test_rq_text.py
	@$(BIN)/python -m conformance.generators.kill_matrix --ledger

matrix: $(READY)  ## put the suite to other engines; write conformance/matrix.html
	@$(BIN)/python tools/matrix.py --build

bench: $(READY)  ## measure speed and memory
	@$(BIN)/python bench/run.py
	@$(BIN)/python bench/runtime.py

docs: $(READY)  ## fill the generated regions of all pages
	@$(BIN)/python -m spec.generate

api: $(READY)  ## record the public names after a deliberate change
	@$(BIN)/python tests/house/api.py --write

demo-model: $(READY)  ## train the embedded model again (hours; needs Debian's apt-get)
	@$(BIN)/python tools/oracles.py --build torch
	@mkdir -p build/demo
	@ls build/demo/*.deb >/dev/null 2>&1 \
		|| (cd build/demo && apt-get download r-cran-janeaustenr)
	@$(REFQUANT_ORACLES)/torch/bin/python tools/train_demo/train.py build/demo/*.deb build/demo/hf
	@$(BIN)/refquant quantize build/demo/hf -o build/demo/demo.rq --scheme keep
	@echo "if it is the better one, copy build/demo/demo.rq to refquant/demo/demo.rq"

oracles: $(READY)  ## build what test-all compares with; says why where it cannot
	@$(BIN)/python tools/oracles.py --build

clean:  ## remove environments, caches and builds
	rm -rf $(VENV) .oracles build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A complete environment is renewed without a network; only a missing package sends pip out.
$(READY): pyproject.toml
	@test -x $(BIN)/python || { echo "making $(VENV)"; \
		$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " \
			+ sys.version.split()[0] + " (make PYTHON=python3.11)" \
			if sys.version_info < (3, 11) else 0)' && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install -q --no-index --no-build-isolation -e '.[test]' 2>/dev/null \
		|| { echo "installing into $(VENV)"; $(BIN)/python -m pip install -qq -e '.[test]'; }
	@touch $@
