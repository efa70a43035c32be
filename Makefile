# make demo    margin statements of the shipped sample exchange
# make test    lint, types, layers, tidy test, tests
# make bench   benchmarks, as ratios against peers in the same run
# make bench-peers   prices, Greeks, implied vols, slices, American options, a whole venue and one portfolio beside other
#                    packages, which are installed into an environment of their own; writes the tables of README.md and
#                    docs/benchmarks.md
# make docs    the documentation site, into build/docs; warnings are errors
# make clean   remove the environment and everything that was generated
#
# Needs Python 3.11 or newer and make; the rest goes into .venv. PYTHON=... picks another interpreter.

ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for candidate in python3 python3.13 python3.12 python3.11 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$candidate && break; done)
endif
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PROJECT_FILES := pyproject.toml constraints.txt

# Tests start Python some hundred times; where the environment forbids bytecode, as containers do, each start would compile
# every module anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test docs bench bench-peers clean
.NOTPARALLEL:

demo: $(VENV)/.installed
	$(BIN)/portfolio-margin margin

# Kernels are compiled beside lint and types, once for all workers of the tests.
test: $(VENV)/.installed-dev
	@mkdir -p build
	@$(BIN)/python -m portfolio_margin warmup --no-jax > build/warmup.txt 2>&1 & warming=$$!; \
	set -e; trap 'kill $$warming 2> /dev/null || :' EXIT; \
	for check in "ruff check ." "ruff format --check ." mypy "lint-imports --no-logo"; do \
		echo "$(BIN)/$$check"; $(BIN)/$$check; done; \
	wait $$warming || { cat build/warmup.txt; exit 1; }
	$(BIN)/pytest -q -n $(WORKERS)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "The site is build/docs/index.html"

# The engine's own jobs; those beside other packages need an environment of their own, which bench-peers makes.
bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# What performs the same jobs elsewhere; one that does not install is named and left out. The order matters once: what
# vollib brings along replaces py_lets_be_rational by a release on which py_vollib_vectorized does not run and vollib is
# four times slower, so the older one comes after it.
PEER_VENV := .venv-peers
PEERS := torch==2.13.0 jax QuantLib iv-engine lbriv pyvolr vollib py_lets_be_rational==1.0.1 py_vollib_vectorized \
	fast-vollib quantkit-rs vanilla-option-pricers pybaw pandas duckdb matplotlib

bench-peers: $(PEER_VENV)/.installed
	$(PEER_VENV)/bin/python -m benchmarks.pricing --threads 1 --json build/peers-pricing-1.json
	$(PEER_VENV)/bin/python -m benchmarks.pricing --json build/peers-pricing.json
	$(PEER_VENV)/bin/python -m benchmarks.slices --json build/peers-slices.json
	$(PEER_VENV)/bin/python -m benchmarks.american --json build/peers-american.json
	$(PEER_VENV)/bin/python -m benchmarks.venue --threads 1 --json build/peers-venue-1.json --figure build/venue-1.png
	$(PEER_VENV)/bin/python -m benchmarks.venue --json build/peers-venue.json --figure docs/scaling.png
	$(PEER_VENV)/bin/python -m benchmarks.engine --json build/peers-engine.json
	$(PEER_VENV)/bin/python -m benchmarks.span --json build/peers-span.json
	$(PEER_VENV)/bin/python -m benchmarks.report
	$(PEER_VENV)/bin/python -m benchmarks.venue_report

$(PEER_VENV)/.installed: $(PROJECT_FILES) Makefile
	@"$(PYTHON)" -m venv --clear $(PEER_VENV)
	@echo "Installing the engine's needs and its peers into $(PEER_VENV); torch alone takes 750 MB, jax 350 MB."
	@pins=; if $(PEER_VENV)/bin/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
		pins="-c constraints.txt"; fi; \
	$(PEER_VENV)/bin/python -m pip install -qq --disable-pip-version-check $$pins numpy scipy numba mpmath
	@for peer in $(PEERS); do \
		$(PEER_VENV)/bin/python -m pip install -qq --disable-pip-version-check $$peer || echo "$$peer did not install"; done
	@touch $@

clean:
	rm -rf $(VENV) $(PEER_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed and none was found: install one, or name it with make PYTHON=<path>."; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { \
		echo "$(PYTHON) cannot create a virtual environment: install its venv module (Debian and Ubuntu: python3-venv)."; exit 1; }
	@touch $@

# constraints.txt holds the tested versions for Python 3.11; newer Pythons take the newest releases. Bytecode is written on all
# cores, which pip does not do; like pip it passes over files that are for another Python.
define install
	@echo "Installing into $(VENV); the first time this fetches about 900 MB and takes a minute or more."
	@pins=; if $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then pins="-c constraints.txt"; fi; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile $$pins -e '.[$(1)]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || :
endef

$(VENV)/.installed: $(PROJECT_FILES) | $(VENV)/.created
	$(call install,io)
	@touch $@

$(VENV)/.installed-dev: $(PROJECT_FILES) | $(VENV)/.created
	$(call install,all$(comma)dev)
	@touch $(VENV)/.installed $@

comma := ,
