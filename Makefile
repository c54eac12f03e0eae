# Everything one does with a checkout. `make help` lists it.

CARGO ?= cargo
CONFIG ?= config/posthaste.conf

.DEFAULT_GOAL := help
.PHONY: help deps build run test test-long test-pure lint fmt doc demo ci fuzz bench bench-scale powercut clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

deps: ## install the packages that building and testing need
	@scripts/setup.sh build
	@scripts/setup.sh test

build: ## compile the daemon as it is shipped
	@scripts/setup.sh build
	$(CARGO) build --release

run: build ## compile and start the daemon with the sample configuration
	"$${CARGO_TARGET_DIR:-target}"/release/posthaste run --config $(CONFIG)

test: ## every unit and integration test, as CI runs them
	@scripts/setup.sh build
	@scripts/setup.sh test
	$(CARGO) test --workspace

test-long: ## the same with the whole crash matrix and load; no peer program may be missing
	@scripts/setup.sh build
	@scripts/setup.sh test
	POSTHASTE_LONG=1 POSTHASTE_REQUIRE_PEERS=1 $(CARGO) test --workspace -- --include-ignored

test-pure: ## only what is decided about mail; seconds
	$(CARGO) test -p posthaste-mail

lint: ## format, clippy with warnings as errors, the walls between the packages
	@scripts/setup.sh build
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	scripts/lint-walls.sh --self-test
	scripts/lint-walls.sh

fmt: ## format the code
	$(CARGO) fmt --all

doc: ## the code's own documentation
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

demo: build ## one message through daemon, DNS and a mail exchanger on this machine
	@scripts/demo.sh

ci: ## what the pipeline runs
	@.ci/run

fuzz: ## half a minute a target of arbitrary replies and broken lines (C++); docs/testing.md
	@scripts/setup.sh build
	@scripts/fuzz.sh

bench: ## throughput, CPU and memory next to Debian's Postfix (root); docs/benchmarks.md
	@scripts/setup.sh build
	@scripts/setup.sh test
	$(CARGO) bench -q -p posthaste --bench throughput

bench-scale: ## memory, start and acceptance with a million deferred messages
	@scripts/setup.sh build
	@scripts/setup.sh test
	$(CARGO) bench -q -p posthaste --bench scale

powercut: ## power cuts on a file system that loses what was not flushed (root)
	@[ "$$(id -u)" -eq 0 ] || { echo "powercut: needs root, to mount a file system" >&2; exit 1; }
	@scripts/setup.sh build
	unshare --mount --propagation private $(CARGO) bench -q -p posthaste --bench powercut

clean: ## remove what was built
	$(CARGO) clean
