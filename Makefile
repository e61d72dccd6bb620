# The commands of the project. `make demo` and `make test` need Python 3.11+ and nothing installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help man dashboard demo packages test-packages test-upgrade test test-distribution-python test-torch test-gpu check docs bench fuzz test-systemd test-joining test-docker test-testbed testbed lock clean
help:  ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-24s  %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The releases that requirements/ locks, and this checkout without asking for anything else. The stamps hold which set is
# installed and are renewed when what it consists of changes.
LOCKED := requirements/install.sh $(BIN)/python
$(VENV)/.demo: pyproject.toml requirements/demo.txt | $(BIN)/python
	@sh $(LOCKED) demo
	@touch $@

$(VENV)/.dev: pyproject.toml requirements/demo.txt requirements/test.txt requirements/dev.txt | $(BIN)/python
	@sh $(LOCKED) demo test dev
	@touch $@ $(VENV)/.demo

dashboard:  ## Libraries of the dashboard's page from npm, locked, into the package; a wheel built afterwards holds them
	@sh dashboard/fetch.sh

KEEP ?=
demo: dashboard $(VENV)/.demo  ## One machine plays device, edge and cloud: split, re-plan, survive (no root, no Docker, no broker); KEEP=1 goes on, with its dashboard, until Ctrl-C
	$(BIN)/python -m demo $(if $(KEEP),--keep)

test: dashboard $(VENV)/.dev  ## The whole test suite (installs Mosquitto and promtool from Debian's packages where it can)
	@sh tests/ensure_mosquitto.sh
	@sh tests/ensure_promtool.sh
	@sh tests/all.sh $(BIN)/python

test-distribution-python: $(VENV)/.dev  ## Sockets, client and demo on the distribution's own python3 (installs python3-venv where it can)
	@sh tests/ensure_mosquitto.sh
	@sh tests/distribution_python.sh $(BIN)/python

test-torch: | $(BIN)/python  ## torch.export archives and the demo's training, in an environment with PyTorch
	@sh tests/torch_environment.sh $(BIN)/python

check: $(VENV)/.dev  ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.dev  ## Write the tables of docs/ anew that are made from the code
	$(BIN)/python -m tests.claims.doc_tables

man: $(VENV)/.dev  ## Man pages of splitctl in man/man1, from its help; a wheel built afterwards installs them
	$(BIN)/python -m edgesplit_controller.cli.shell.manual man/man1

bench: $(VENV)/.dev  ## Benchmarks, side by side, medians and ratios
	$(BIN)/python -m bench

$(VENV)/.fuzz: $(VENV)/.dev requirements/fuzz.txt
	@sh $(LOCKED) fuzz
	@touch $@

FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.fuzz  ## Coverage-guided fuzzing of frames and HTTP, FUZZ_SECONDS (60) for each of five targets
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

test-systemd: test-joining $(VENV)/.dev  ## Root: three machines with real systemd, through kill, hang and reboot
	$(BIN)/python -m pytest -m root tests/services/test_fleet.py -s

test-joining: $(VENV)/.dev  ## Root: from three bare machines to a served request, every plane authenticated: counted and timed
	$(BIN)/python -m pytest -m root tests/services/test_joining.py -s

test-packages: $(VENV)/.dev  ## Root: apt install on three bare Debian machines, a served request, and apt purge leaves nothing
	$(BIN)/python -m pytest -m root tests/services/test_packages.py -s

test-upgrade: $(VENV)/.dev  ## Five agents and a controller from the previous release to this one under load, in both orders (minutes)
	@sh tests/ensure_mosquitto.sh
	$(BIN)/python -m tests.upgrade

test-docker: $(VENV)/.dev  ## Build the images, run the compose file (docker, or buildah and podman)
	$(BIN)/python -m pytest -m root tests/services/test_images.py -s

test-gpu:  ## Sessions, profiles, plans and splits on a graphics processor (8 minutes; leaves gpu-output/; said and left out where there is none)
	@sh tests/gpu/run.sh $(PYTHON)

test-testbed: $(VENV)/.dev  ## Root: device, edge and cloud as network namespaces with shaped links
	@sh tests/ensure_mosquitto.sh
	$(BIN)/python -m pytest -m root tests/testbed -s

SCENARIO ?= smoke
testbed: $(VENV)/.dev  ## Root: an experiment with live agents, SCENARIO=smoke, study, changes or a TOML file; a stopped one goes on (docs/testbed.md)
	@sh tests/ensure_mosquitto.sh
	$(BIN)/python -m lab run $(SCENARIO)

packages: dashboard $(VENV)/.demo  ## Debian packages of agent and controller in dist/, for the Debian and the processor of this machine
	@sh deb/build.sh $(BIN)/python dist

UPGRADE ?=
lock:  ## Lock files for what pyproject.toml asks (UPGRADE=--upgrade: the newest releases); asks the package index
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --upgrade uv
	sh requirements/lock.sh .venv-lock/bin/uv $(UPGRADE)

clean:  ## Remove what the commands above left in the tree
	rm -rf man demo-output bench-output fuzz-output gpu-output testbed-output dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
