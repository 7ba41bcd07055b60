# Rolecall. `make` lists the targets. Works with GNU make 3.81 and newer.

PYTHON ?= python3
PY := .venv/bin/python
JOBS ?= auto
PYTEST = $(PY) -m pytest -n $(JOBS) --dist loadgroup
PACKAGES := shared:auth-service:resource-service:client-webapp:lab
OTHER := choose another one: make PYTHON=python3.13
LOCKS := run compose lab dev docs
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

# seconds since the epoch; `make run` prints the time that it took to start
STARTED_AT := $(shell date +%s.%N)

# with it, each process of the lab and of the tests would compile every module again
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo flask doctor test-long test-postgres test-compose running-containers test-interop up down logs ps test check audit fuzz bench docs lock docs-site screenshots clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: .venv/lab.stamp ## start the lab (HOSTS=localhost-names, CLIENT_PORT=, AUTH_PORT=, RESOURCE_PORT=, OBSERVER_PORT=, REDIS_URL=)
	@STARTED_AT=$(STARTED_AT) $(PY) -P -m rolecall_lab.launcher.run

demo: .venv/lab.stamp ## run a flow of the running lab and print its messages (FLOW=, FULL=1)
	@FLOW="$(FLOW)" FULL="$(FULL)" $(PY) -P -m rolecall_lab.demo

flask: .venv/lab.stamp ## run a command of a service of the running lab (SERVICE=auth-service ARGS="keys rotate")
	@$(PY) -P -m rolecall_lab.launcher.flask_command "$(SERVICE)" $(ARGS)

test: .venv/dev.stamp ## run the tests that need no containers and no npm, in parallel (ARGS= for pytest)
	@$(PYTEST) -m "not long and not npm and not compose" $(ARGS)

test-long: .venv/dev.stamp ## run the slow tests, part by part (PART=faults; PART=--help lists them)
	@$(PY) tests/support/long.py $(PART)

test-postgres: .venv/dev.stamp ## run the tests with PostgreSQL, started in Docker unless DATABASE_URL is set
	@$(PY) tests/support/postgres.py $(PYTEST) $(or $(ARGS),-m "database and not long")

up: ## start the lab in containers (HOSTS=localhost-names, CLIENT_PORT=, ARGS="--scale auth-service=3")
	@sh compose/up.sh $(ARGS)

doctor: .venv/lab.stamp ## check the running lab, and print problems and how to solve them
	@$(PY) -P -m rolecall_lab.launcher.doctor

down: ## stop and remove the containers; keep their data
	@docker compose down --remove-orphans

test-compose: running-containers .venv/dev.stamp ## run the smoke tests of the containers that `make up` started (ARGS= for others)
	@ROLECALL_COMPOSE=1 $(PY) -m pytest $(or $(ARGS),tests/compose tests/integration tests/browser -m smoke)

running-containers:
	@docker compose ps --status running --quiet 2>/dev/null | grep -q . || { echo 'rolecall: no containers are running; start them with `make up`' >&2; exit 1; }

test-interop: .venv/dev.stamp ## run third-party clients and servers against the services, with npm, Go, Maven, and Apache if installed (ARGS='-m "not long"')
	@$(PY) -m pytest tests/interop $(ARGS)

logs: ## follow the logs of the containers
	@docker compose logs --follow --tail 50

ps: ## list the containers
	@docker compose ps

check: .venv/dev.stamp ## check style, types, and imports
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@PYTHONPATH=$(PACKAGES) .venv/bin/lint-imports

audit: .venv/dev.stamp ## check the pinned packages for known vulnerabilities
	@$(PY) -m pip_audit --strict --disable-pip --require-hashes --desc off --progress-spinner off --timeout 5 $(LOCKS:%=-r requirements/%.txt)

fuzz: .venv/dev.stamp ## fuzz a separate stack with malformed requests, then run property-based and OpenAPI tests (REQUESTS=100000)
	@$(PY) tests/support/fuzz/run.py --requests $(or $(REQUESTS),100000)

bench: .venv/bench.stamp ## measure the services in their production form (ROWS=refresh,userinfo, COMPARE=commit, PEERS=1)
	@ROWS="$(ROWS)" COMPARE="$(COMPARE)" PEERS="$(PEERS)" GUNICORN="$(GUNICORN)" ROUNDS="$(ROUNDS)" SECONDS="$(SECONDS)" $(PY) benchmarks/bench.py

screenshots: .venv/dev.stamp ## take a screenshot of every page, and renew those in docs/pictures (ARGS=pictures for these only)
	@$(PY) tests/support/browser/screenshots.py $(ARGS)

docs: .venv/lab.stamp ## update the generated parts of the documentation
	@$(PY) -P -m rolecall_lab.documentation.pages

docs-site: .venv/docs.stamp ## build docs/ as a site, which the lab serves at http://localhost:8003/docs/
	@rm -rf docs/_site
	@$(PY) -P -m sphinx -q -E -W --keep-going -b html -d .venv/doctrees docs docs/_site
	@echo "docs/_site/README.html"

lock: ## update the locks in requirements/, tests/interop/python/, and benchmarks/ (UPGRADE=--upgrade for newer versions)
	@command -v uv >/dev/null || { echo "rolecall: make lock needs uv (pip install uv)" >&2; exit 1; }
	@for name in $(LOCKS); do \
	  $(COMPILE) $(UPGRADE) requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done
	@for folder in tests/interop/python benchmarks; do \
	  $(COMPILE) $(UPGRADE) $$folder/requirements.in -o $$folder/requirements.txt || exit 1; \
	done

clean: ## delete the lab's databases, logs, and other files, and the volumes of the containers
	@if [ -d .rolecall/compose ] && docker info >/dev/null 2>&1; then docker compose down --volumes --remove-orphans; fi
	@rm -rf .rolecall docs/_site
	@if head -n 1 .env 2>/dev/null | grep -qx '# written by make up'; then rm .env; fi

distclean: clean ## clean, and delete the virtual environment
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(PY):
	@command -v $(PYTHON) >/dev/null || { echo "rolecall: $(PYTHON) is not installed; $(OTHER)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rolecall: $$($(PYTHON) -V 2>&1) is too old; Python 3.11 or newer is required; $(OTHER)" >&2; exit 1; }
	@$(PYTHON) lab/install.py

.venv/lab.stamp: $(PY) requirements/lab.txt lab/install.py
	@$(PY) lab/install.py requirements/lab.txt
	@touch $@

.venv/docs.stamp: $(PY) requirements/docs.txt lab/install.py
	@$(PY) lab/install.py requirements/docs.txt
	@touch $@

# the lock of the tests contains that of the lab
.venv/dev.stamp: $(PY) requirements/dev.txt requirements/lab.txt lab/install.py
	@$(PY) lab/install.py requirements/dev.txt
	@touch .venv/lab.stamp $@

.venv/bench.stamp: .venv/dev.stamp benchmarks/requirements.txt
	@$(PY) -m venv --clear .venv/bench
	@.venv/bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.txt
	@touch $@
