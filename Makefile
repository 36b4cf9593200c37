# twqr: what can be done here. Tools that are not on the machine go to .tools/, which git ignores.
CARGO_DENY_VERSION := 0.20.2
BUF_VERSION := 1.75.0
DENY := .tools/bin/cargo-deny
BUF := .tools/node_modules/.bin/buf

.DEFAULT_GOAL := help
ONCE ?=
WIPE ?=

SAMPLE_DAY := load-tests/samples/day.jsonl
WHOLE_API_DAY := load-tests/samples/day-whole-api.jsonl

.PHONY: help build run run-kafka test test-kafka bench-quick bench-kafka sample lint fmt check-layers check-files check-proto check-deps check-unused check-alone kafka-up kafka-down clean

help: ## Lists every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'

build: ## Builds everything, optimised
	cargo build --release --locked

run: build ## Starts everything, takes a day of payments, audits it, serves until Ctrl-C (ONCE=1: exits after the audit)
	target/release/twqr-lab run $(if $(ONCE),--once)

run-kafka: build ## The same on a real Apache Kafka, every service in processes of its own, with a rolling restart (ONCE=1: exits)
	@bootstrap=$$(deploy/kafka/up | tail -n 1) && status=0; \
	TWQR__KAFKA__BOOTSTRAP="$${bootstrap#KAFKA_BOOTSTRAP=}" TWQR__KAFKA__SESSION_TIMEOUT_MS=2000 \
	  target/release/twqr-lab run-kafka $(if $(ONCE),--once) || status=$$?; deploy/kafka/down; exit $$status

test: ## Runs all tests
	cargo test --workspace --locked

test-kafka: ## Runs the tests that need real brokers, which it starts: conformance, and processes and brokers killed under load
	@.make/test-kafka

bench-quick: build ## Measures latency, highest rate, memory, CPU and disk against a floor of the same run (one JSON line, < 90 s)
	@target/release/twqr-lab bench quick

bench-kafka: build ## The same on a real Apache Kafka with every service in processes of its own (one JSON line, about 3 min)
	@bootstrap=$$(deploy/kafka/up | tail -n 1) && status=0; \
	TWQR__KAFKA__BOOTSTRAP="$${bootstrap#KAFKA_BOOTSTRAP=}" target/release/twqr-lab bench kafka --broker-pid "$$(cat target/kafka/broker-1.pid)" \
	  || status=$$?; deploy/kafka/down >/dev/null; exit $$status

sample: ## Makes the sample days anew from their seed
	cargo run --quiet --locked --bin twqr-lab -- sample-day > $(SAMPLE_DAY).new && mv $(SAMPLE_DAY).new $(SAMPLE_DAY)
	cargo run --quiet --locked --bin twqr-lab -- sample-day --whole-api 140 > $(WHOLE_API_DAY).new && mv $(WHOLE_API_DAY).new $(WHOLE_API_DAY)

lint: check-layers check-files check-proto check-deps check-unused check-alone ## Formatting, clippy, layers, protobuf, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## Formats the source
	cargo fmt --all

check-layers: ## Fails on an arrow between crates that the architecture does not have
	@.make/check-layers

check-files: ## Fails on source files that break a rule of crates/tidy: length, prose, circles
	@cargo run --quiet --locked -p twqr-tidy -- --report prose --report doc-words --report circles

check-proto: $(BUF) ## Lints the protobuf files
	$(BUF) lint proto

check-deps: $(DENY) ## Licences, bans and sources of the dependencies
	$(DENY) --config .deny.toml --log-level error check licenses bans sources

check-unused: ## Fails on a dependency that no source file names
	@.make/check-unused

check-alone: ## Compiles each crate with its tests alone
	@.make/check-alone

kafka-up: ## Starts a real Apache Kafka on loopback, no Docker (BROKERS=3: three; last line: KAFKA_BOOTSTRAP=...)
	@deploy/kafka/up

kafka-down: ## Stops it and keeps its data (WIPE=1: removes it)
	@deploy/kafka/down $(if $(WIPE),--wipe)

clean: ## Removes what was built, not the tools
	cargo clean

$(DENY):
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust (see rust-toolchain in Cargo.toml: rust-version)"; exit 1; }
	cargo install --quiet --locked --root .tools cargo-deny --version $(CARGO_DENY_VERSION)

$(BUF):
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js with npm, then run make again"; exit 1; }
	npm install --silent --no-fund --no-audit --prefix .tools @bufbuild/buf@$(BUF_VERSION)
	@touch $@
