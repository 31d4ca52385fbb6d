# `make help` says what there is. Everything is installed into .venv and the lab's cache; nothing else is touched but,
# as root, Debian's packages.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
QUIET := .ci/quiet

# Which lock an environment is made from: `lab` is everything, `dev` what `make unit` and `make lint` need.
LOCKED := $(VENV)/installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each process of the tests compiles everything anew.
export PYTHONDONTWRITEBYTECODE :=
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1

.PHONY: help venv unit storm search outage lint interop lab lab-setup test demo bench bench-sip fuzz replay \
	flood strangers clean bench-media bench-texts quality durable lab-network

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

venv: $(LOCKED)-lab  ## the Python environment with everything, from requirements/lab.lock

# The environment for the unit tests is made smaller, unless the big one is there.
$(LOCKED)-dev: requirements/dev.lock pyproject.toml | $(RUN)/python
	@if [ -e $(LOCKED)-lab ]; then $(MAKE) --no-print-directory $(LOCKED)-lab; else \
	$(QUIET) "python packages" $(RUN)/python -m pip install -r requirements/dev.lock; \
	$(QUIET) "ringback itself" $(RUN)/python -m pip install --no-deps -e .; fi
	@touch $@

$(LOCKED)-lab: requirements/lab.lock pyproject.toml | $(RUN)/python
	@$(QUIET) "python packages" $(RUN)/python -m pip install -r requirements/lab.lock
	@$(QUIET) "ringback itself" $(RUN)/python -m pip install --no-deps -e .
	@touch $@ $(LOCKED)-dev

$(RUN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)"; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			$(QUIET) "python3-venv" bash -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -y -qq --no-install-recommends python3-venv'; \
		else echo "python3-venv is missing. As root: apt-get install python3-venv"; exit 1; fi; fi
	@$(QUIET) "python environment" $(PYTHON) -m venv $(VENV)

# One more than there are cores: some tests wait.
WORKERS = $(shell expr $$(nproc) + 1)

unit: $(LOCKED)-dev  ## unit tests; under a minute on two idle cores
	@$(RUN)/python -m pytest -n $(WORKERS) --ignore tests/lab --ignore tests/interop --ignore tests/outage --ignore tests/network

storm: $(LOCKED)-dev  ## a thousand virtual storms over two SIP user agents; STORM="FIRST COUNT" for others
	@$(RUN)/python -m tests.sip.storm $(STORM)

search: $(LOCKED)-dev  ## every order of inputs to transactions and sessions; SEARCH="DEPTH DEPTH"
	@$(RUN)/python -m tests.sip.search $(SEARCH)

replay: $(LOCKED)-dev  ## ten thousand repeated, mixed and broken pushes; tests/replay/README.md for other bridges
	@$(RUN)/python -m tests.replay $(REPLAY)

outage: $(LOCKED)-dev  ## three days of each trouble of a line, a thousand accounts, dead peers; as root, four minutes
	@$(RUN)/python -m pytest -s tests/outage

lint: $(LOCKED)-dev  ## style, types, import rules
	@$(QUIET) "ruff check" $(RUN)/ruff check .
	@$(QUIET) "ruff format" $(RUN)/ruff format --check .
	@$(QUIET) "mypy" $(RUN)/mypy
	@$(QUIET) "import rules" $(RUN)/lint-imports

lab-setup: $(LOCKED)-lab
	@$(RUN)/python -m tests.lab.setup

interop: lab-setup  ## our user agent against Asterisk, Kamailio and others; docs/interop.md
	@$(RUN)/python -m pytest tests/interop

lab: lab-setup  ## end-to-end tests with a real homeserver, PBX, browser and telephone
	@$(RUN)/python -m pytest tests/lab

lab-network: lab-setup  ## a phone that loses its network and gets another, or whose NAT or bridge moves, in a network namespace of its own; five minutes
	@unshare --map-root-user --net sh -c 'ip link set lo up && exec $(RUN)/python -m pytest -s tests/network'

durable: lab-setup  ## a thousand texts each way while the bridge and the homeserver are killed; DURABLE="--database postgres"
	@$(RUN)/python -m tests.lab.durable $(DURABLE)

test: lab-setup lint unit interop lab  ## everything; installs what it needs

demo: lab-setup  ## a call each way, texts by SIP and by web hook, shown; then it stays up for your own client
	@$(RUN)/python -m tests.demo

FUZZERS := $(VENV)/installed-fuzz
$(FUZZERS): requirements/fuzz.lock | $(LOCKED)-dev
	@$(QUIET) "atheris" $(RUN)/python -m pip install -r requirements/fuzz.lock
	@touch $@

fuzz: $(FUZZERS)  ## every parser of sip/ and media/, the agent and a call, SECONDS=60 each; then 5,000 mutated INVITEs
	@$(RUN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)
	@$(RUN)/python -m tests.fuzz.invites

bench: lab-setup  ## set-up times and delays as distributions
	@$(RUN)/python -m tests.bench

bench-texts: $(LOCKED)-dev  ## texts through the whole bridge each way, on SQLite and PostgreSQL
	@$(RUN)/python -m tests.bench.texts

PEERS := $(VENV)/peers
bench-sip: $(LOCKED)-dev  ## the SIP user agent beside others for Python
	@[ -x $(PEERS)/bin/python ] || $(RUN)/python -m venv $(PEERS)
	@$(QUIET) "other user agents" $(PEERS)/bin/python -m pip install --require-hashes -r requirements/peers.lock
	@$(RUN)/python -m tests.bench.sip --peers $(PEERS)/bin/python

MEDIA_PEERS := $(VENV)/media-peers
bench-media: $(LOCKED)-dev  ## the media plane beside rtpengine and aiortc; 8 minutes, MEDIA=--quick for one
	@for program in rtpengine espeak-ng; do command -v $$program >/dev/null || { \
		echo "$$program is missing. As root: apt-get install --no-install-recommends rtpengine-daemon espeak-ng"; \
		exit 1; }; done
	@[ -x $(MEDIA_PEERS)/bin/python ] || $(RUN)/python -m venv $(MEDIA_PEERS)
	@$(QUIET) "aiortc" $(MEDIA_PEERS)/bin/python -m pip install --require-hashes -r requirements/media-peers.lock
	@$(RUN)/python -m tests.bench.media --peers $(MEDIA_PEERS)/bin/python $(MEDIA)

JUDGE := $(VENV)/quality
quality: $(LOCKED)-dev  ## how calls sound on bad networks, beside rtpengine and aiortc; ten minutes on a quiet machine, QUALITY=--quick for one and a half
	@for program in rtpengine espeak-ng cc; do command -v $$program >/dev/null || { \
		echo "$$program is missing. As root: apt-get install --no-install-recommends rtpengine-daemon espeak-ng gcc"; \
		exit 1; }; done
	@[ -x $(MEDIA_PEERS)/bin/python ] || $(RUN)/python -m venv $(MEDIA_PEERS)
	@[ -x $(JUDGE)/bin/python ] || $(RUN)/python -m venv $(JUDGE)
	@$(QUIET) "aiortc" $(MEDIA_PEERS)/bin/python -m pip install --require-hashes -r requirements/media-peers.lock
	@$(QUIET) "PESQ and ViSQOL" $(JUDGE)/bin/python -m pip install --require-hashes -r requirements/quality.lock
	@$(RUN)/python -m tests.bench.quality --judge $(JUDGE)/bin/python --peers $(MEDIA_PEERS)/bin/python $(QUALITY)

flood: $(LOCKED)-dev  ## a minute of 200 INVITEs a second over TLS; a good call must ring, memory return
	@$(RUN)/python -m tests.bench.sip_flood

strangers: $(LOCKED)-dev  ## a hundred calls under fire, forgeries and replays by the hundred thousand; two minutes
	@$(RUN)/python -m tests.bench.strangers

clean:  ## remove what was built (not the lab's cache)
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
