# The commands everybody relies on. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --require-hashes --only-binary :all:

.DEFAULT_GOAL := help
.PHONY: help install install-test run test check bench torture faults conformance clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# The stamps are as new as the locks they were installed from: a second run installs nothing, and
# what was interrupted is done again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements/run.txt requirements/local.txt requirements/local-nodeps.txt
	@echo "Installing what the server needs (about 160 MB to download, once) ..."
	$(PIP) -r requirements/run.txt -r requirements/local.txt
	$(PIP) --no-deps -r requirements/local-nodeps.txt
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt requirements/check.txt
	@echo "Installing what the tests need (about 150 MB to download, once) ..."
	$(PIP) -r requirements/test.txt -r requirements/check.txt
	@touch $@

install: $(VENV)/.run ## .venv and everything `make run` needs

install-test: $(VENV)/.test

run: install ## start everything on HOST:PORT (127.0.0.1:8000)
	@exec $(VENV)/bin/python -m bsod.launch

test: install-test ## the whole suite, on SQLite and PostgreSQL
	@$(VENV)/bin/python -m tests.run $(ARGS)

check: install-test ## style, types, migrations, deployment, structure
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy . & types=$$!; $(VENV)/bin/python -m tests.check; rest=$$?; wait $$types && exit $$rest

bench: install-test ## the benchmark (QUICK=1: under a minute)
	@$(VENV)/bin/python bench/run.py $(if $(QUICK),--quick) $(ARGS)

torture: install-test ## long kill, race and soak runs
	@$(VENV)/bin/python -m tests.torture $(ARGS)

faults: install-test ## every fault of provider keys and hosts, made to happen, as a table
	@$(VENV)/bin/python -m tests.faults $(ARGS)

conformance: install-test ## OpenAI's own client tests through the gateway (OPENAI_SPEC=its specification)
	@$(VENV)/bin/python -m tests.conformance $(ARGS)

clean: ## forget .venv and what tests and benchmarks have left; var/ stays
	rm -rf $(VENV) .bench .conformance .mypy_cache .ruff_cache .hypothesis
