# make demo    trains on handwritten digits in about a minute
# make test    the test suite
# make check   also the slow tests, style, types, layers, and the wheel with the core install alone
# Each does its own set-up in .venv from python3 (3.11 or newer; PYTHON=... names another).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
DIGITS := build/digits

.PHONY: demo test check rest slow style types layers wheel clean

demo: $(VENV)/run-installed
	@$(BIN)/python examples/digits.py $(DIGITS)
	@run=runs/demo-$$(date +%Y%m%d-%H%M%S); \
	$(BIN)/thrifty run $(DIGITS) --minutes 0.7 --out $$run && \
	printf '\n%s\n' "Predict with it:" \
	  "  $(BIN)/thrifty predict $$run $(DIGITS)/test --out predictions.csv"

test: $(VENV)/dev-installed
	$(TESTS) -m "not slow"

check: test rest

rest: slow style types layers wheel

slow: $(VENV)/dev-installed
	$(TESTS) -m slow

style: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev-installed
	$(BIN)/mypy

layers: $(VENV)/dev-installed
	$(BIN)/lint-imports

wheel: $(VENV)/dev-installed
	.ci/wheel $(PYTHON) $(BIN)

clean:
	rm -rf $(VENV) build dist

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(f"Thrifty needs Python 3.11 or newer, and $(PYTHON) is {sys.version.split()[0]}: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/run-installed: $(VENV)/made pyproject.toml constraints.txt
	@echo "Installing Thrifty with its extras train and pretrained into $(VENV): one to two minutes, 1.9 GB ..."
	@$(PIP) -e '.[train,pretrained]'
	@touch $@

$(VENV)/dev-installed: $(VENV)/run-installed
	@echo "Installing what the tests need ..."
	@$(PIP) -e '.[train,pretrained,optuna,hyperopt,dev]'
	@touch $@
