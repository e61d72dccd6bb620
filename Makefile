# The commands of the project. `make demo` and `make test` need Python 3.11+ and nothing installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-distribution-python test-torch check docs bench fuzz test-systemd test-docker test-testbed clean
help:  ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-24s  %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps hold which extras are installed and are renewed when pyproject.toml changes.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## One machine plays device, edge and cloud: split, re-plan, survive (no root, no Docker, no broker)
	$(BIN)/python -m demo

test: $(VENV)/.dev  ## The whole test suite (installs Mosquitto from Debian's packages where it can)
	@sh tests/ensure_mosquitto.sh
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
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## Write the tables of docs/ anew that are made from the code
	$(BIN)/python -m tests.claims.doc_tables

bench: $(VENV)/.dev  ## Benchmarks, side by side, medians and ratios
	$(BIN)/python -m bench

$(VENV)/.fuzz: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $@ $(VENV)/.dev $(VENV)/.demo

FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.fuzz  ## Coverage-guided fuzzing of frames and HTTP, FUZZ_SECONDS (60) for each of four targets
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

test-systemd: $(VENV)/.dev  ## Root: three machines with real systemd, through kill, hang and reboot
	$(BIN)/python -m pytest -m root tests/services/test_fleet.py -s

test-docker: $(VENV)/.dev  ## Build the images, run the compose file (docker, or buildah and podman)
	$(BIN)/python -m pytest -m root tests/services/test_images.py -s

test-testbed: $(VENV)/.dev  ## Root: device, edge and cloud as network namespaces with shaped links
	@sh tests/ensure_mosquitto.sh
	$(BIN)/python -m pytest -m root tests/testbed -s

clean:  ## Remove what the commands above left in the tree
	rm -rf demo-output bench-output fuzz-output dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
