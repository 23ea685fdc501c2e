# homing: every target installs what it needs first.  `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PREFIX ?= $(VENV)
STAMP := $(VENV)/.installed
# What Debian provides: the demo's network tools, and the third parties' programs that the tests run against.
APT := iproute2 nftables iputils-ping iperf3 conntrack wireguard-go wireguard-tools supervisor systemd coturn groff-base chromium tmux

.PHONY: help install apt man demo test lint unit bench simulate mutants fuzz lab nat-lab lock proto clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: apt $(STAMP)  ## set up: apt packages, .venv, pinned dependencies

apt:
	@missing="$$(dpkg-query -W -f='$${Package} $${db:Status-Status}\n' $(APT) python3-venv 2>/dev/null \
	  | awk '$$2=="installed"{print $$1}' | sort > /tmp/.homing-apt.$$$$; \
	  printf '%s\n' $(APT) python3-venv | sort | comm -23 - /tmp/.homing-apt.$$$$; rm -f /tmp/.homing-apt.$$$$)"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" != 0 ]; then echo "make: these Debian packages are missing; install them as root:" $$missing >&2; exit 1; fi; \
	  echo "installing:" $$missing; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

man: install  ## the manual page, made from --help: below .venv, or PREFIX=/usr/local
	@mkdir -p $(PREFIX)/share/man/man1
	$(BIN)/homing man > $(PREFIX)/share/man/man1/homing.1

demo: install  ## two hosts behind NATs: tunnel, direct path, traffic, faults, their recovery
	$(BIN)/homing demo

test: install lint  ## everything: ruff, mypy, unit, property, process, interop and namespace tests
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: install  ## only the tests in virtual time: no processes, no namespaces
	$(BIN)/pytest -m "not process and not netns and not interop"

bench: install  ## measure the figures of the README
	$(BIN)/python -m tests.bench

lab: install  ## the faults of docs/recovery.md between real agents in namespaces: SCENARIO=S1 RUNS=20 JOBS=2 JSON=1 MARKDOWN=1 WHY=1
	$(BIN)/python -m tests.lab.scenarios $(SCENARIO) $(if $(RUNS),--runs $(RUNS)) $(if $(JOBS),--jobs $(JOBS)) $(if $(JSON),--json) $(if $(MARKDOWN),--markdown) $(if $(WHY),--why)

nat-lab: install  ## two agents behind every pair of NAT kinds: path reached, times, expected path (some minutes)
	$(BIN)/python -m tests.lab.matrix

simulate: install  ## whole agents in virtual time, faults drawn from seeds: SEEDS=10000, or SEED=17, or SCENARIO=S8
	$(BIN)/python -m tests.simulator $(if $(SCENARIO),--scenario "$(SCENARIO)") $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0))

mutants: install  ## take one rule of recovery out at a time; the seed that notices (some minutes)
	$(BIN)/python -m tests.simulator.mutants --seeds $(or $(SEEDS),1000)

fuzz: install  ## fuzz one decoder by coverage: DECODER=relay SECONDS=60
	$(BIN)/pip show -q atheris || $(BIN)/pip install -q atheris
	$(BIN)/python -m tests.fuzz $(or $(DECODER),relay) --seconds $(or $(SECONDS),60)

lock:  ## pin the dependencies anew
	$(BIN)/pip-compile -q --extra dev --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml

proto: install  ## make the protobuf module anew from transport/signal/signal.proto
	$(BIN)/python -m grpc_tools.protoc -Itransport/signal --python_out=transport/signal --pyi_out=transport/signal transport/signal/signal.proto

clean:  ## remove what the targets made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
