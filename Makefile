# Every way to build, run, test and measure Flotilla. `make help` lists them.
#
# Everything that links RocksDB is built with `--release --workspace`: one profile and one feature
# set, so that RocksDB is compiled once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Only through PATH: a changed CXX or RUSTFLAGS would compile everything again.
export PATH := /usr/lib/ccache:$(PATH)

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
FLOTILLA := $(TARGET_DIR)/release/flotilla
RELEASE := --release --workspace
# The worker pool with locks and threads that try many schedules; nothing here links RocksDB.
SCHEDULES := --release --package flotilla-poller --features shuttle --test shuttle
# A workspace of its own; nothing here links RocksDB.
FUZZ := --locked --release --manifest-path tests/fuzz/Cargo.toml --target-dir $(TARGET_DIR)/fuzz
# The simulator with bugs that are planted on purpose, each of which it must find. Never part of a release.
BOARD := --release --package flotilla-sim --features seeded-bugs
# Passed on to what is run: make playground ARGS="--stores 5"
ARGS ?=
# Longer simulations: make sim SEEDS=10000
SEEDS ?= 200
# Longer chaos, other draws, or some scenarios only: make chaos FACTOR=10 SEED=7 ONLY=power
FACTOR ?= 5
SEED ?= 1
ONLY ?=

.PHONY: help setup build playground verify test sim board fuzz kill-rounds chaos placement placement-cost failover startup idle regions fill full-load bench fix

help: ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: ## install what the build needs from the system, where it is missing
	@tests/setup/install

build: setup ## build everything, optimised
	$(CARGO) build $(RELEASE)

playground: setup ## build, then run a cluster in one process (ARGS="--stores 5")
	$(CARGO) build $(RELEASE) --bins
	exec $(FLOTILLA) playground $(ARGS)

verify: setup ## lock file, formatting, house rules, lints and documentation; changes no file
	$(CARGO) metadata --locked --format-version 1 > /dev/null
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) test --package flotilla-tidy
	$(CARGO) clippy $(RELEASE) --all-targets -- -D warnings
	$(CARGO) clippy $(SCHEDULES) -- -D warnings
	$(CARGO) clippy $(FUZZ) -- -D warnings
	$(CARGO) clippy $(BOARD) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RELEASE) --no-deps --document-private-items

test: setup ## all tests: units, models, simulation, clusters of processes with kills, documentation
	{ $(CARGO) test $(SCHEDULES); $(CARGO) test $(RELEASE) --no-fail-fast $(ARGS); \
		$(CARGO) test $(BOARD) --test board; } 2>&1 | tests/setup/summarise

sim: ## simulate clusters (SEEDS=200; ARGS="run --seed 7 --trace" replays one)
	$(CARGO) run --release --package flotilla-sim -- $(or $(ARGS),sweep --count $(SEEDS))
	$(if $(ARGS),,$(CARGO) run --release --package flotilla-sim -- replicas sweep --jobs 2 --count $(SEEDS))
	$(if $(ARGS),,$(CARGO) run --release --package flotilla-sim -- placement sweep --jobs 2 --count $(SEEDS))

board: ## plant each known bug and see it found (ARGS="run --bug NAME --seed 1 --trace" replays one)
	$(CARGO) $(if $(ARGS),run $(BOARD) -- $(ARGS),test $(BOARD) --test board -- --nocapture)

fuzz: setup ## fuzz every decoder, guided by coverage where it can be (SECONDS=180 each; ARGS="group store")
	tests/fuzz/run $(or $(SECONDS),180) $(ARGS)

kill-rounds: setup ## fifty rounds of kills under load, with clients that check what was acknowledged
	$(CARGO) test $(RELEASE) --test kill_rounds -- --ignored --exact fifty_rounds --nocapture

chaos: setup ## faults of processes, networks and disks under checked histories (FACTOR=5 SEED=1 ONLY=power,mix)
	FLOTILLA_CHAOS_FACTOR=$(FACTOR) FLOTILLA_CHAOS_SEED=$(SEED) FLOTILLA_CHAOS_ONLY=$(ONLY) \
		$(CARGO) test $(RELEASE) --test chaos -- --ignored --exact everything --nocapture

placement: setup ## playgrounds of 200 regions under clients: stores come, go and die, zones are kept
	$(CARGO) test $(RELEASE) --test placement -- --ignored --nocapture --test-threads 1

placement-cost: setup ## what decisions about 1,000 stores and 1,000,000 regions cost: instructions, and time of a processor
	$(CARGO) test --release --package flotilla-sim --test placement_counts --test placement_large -- --nocapture

failover: setup ## measure the gap that clients see when a leader's store is killed
	$(CARGO) test $(RELEASE) --test measure -- --ignored --exact failover --nocapture

startup: setup ## measure the time from the command to a ready cluster
	$(CARGO) test $(RELEASE) --test measure -- --ignored --exact startup --nocapture

idle: setup ## measure memory and CPU time of a cluster that does nothing
	$(CARGO) test $(RELEASE) --test measure -- --ignored --exact idle --nocapture

regions: setup ## measure a cluster of 10,000 idle regions
	$(CARGO) test $(RELEASE) --test measure -- --ignored --exact regions --nocapture

fill: setup ## measure what a store that joins and takes replicas costs clients (FLOTILLA_FILL_BYTES=2147483648)
	$(CARGO) test $(RELEASE) --test measure -- --ignored --exact fill::fill --nocapture

full-load: setup ## count elections in 30 minutes of full load
	$(CARGO) test $(RELEASE) --test measure -- --ignored --exact full_load --nocapture

bench: setup ## measure throughput against etcd on this machine
	$(CARGO) build $(RELEASE) --bins
	$(CARGO) run --release --package flotilla-compare -- --flotilla $(FLOTILLA) $(ARGS)

fix: ## format, and apply what lints can repair
	$(CARGO) fmt --all
	$(CARGO) clippy $(RELEASE) --all-targets --fix --allow-dirty --allow-staged
