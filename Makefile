# The commands of this project, the same on every machine and in CI.
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help demo test check unit examples docs package deny layout parts latency scale benchmarks torture mutants redis nextest
# The torture scenarios that CI plays, in a quick form.
SAMPLE := binary(torture) and test(/::t(01|02|06|07|08|09|14|24|25|33)_/)

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1  \2/p' Makefile

demo: ## The tree at work, live in this terminal, with jobs that fail and actors that are killed; no Redis needed
	@cargo run --package retraced-cli -- demo

test: check unit examples docs ## Everything CI checks

check: ## Format and lints, with all features, with the default ones, and with none
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --package retraced --package retraced-jobs --all-targets --no-default-features -- -D warnings

unit: redis nextest ## All tests and doctests, with all features; and with none, on the store in memory
	cargo nextest run --workspace --all-features -E 'not test(/::t[0-9]+_/) or $(SAMPLE)'
	cargo nextest run --package retraced --package retraced-jobs --no-default-features
	cargo test --quiet --workspace --doc --all-features

examples: ## Every example builds; the tests run them and read their output
	cargo build --quiet --examples
	cargo build --quiet --examples --no-default-features

docs: ## The documents, with warnings denied; every public type has an example
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --all-features
	@scripts/check-examples

package: ## The four crates as they would be published, each built from its package alone
	@# In a new folder each time: cargo keeps what it unpacked from a folder, and would build that again although the crates have changed since.
	@mkdir -p target; folder=$$(mktemp -d target/package-XXXXXX); trap 'rm -rf "$$folder"' EXIT; \
	cargo package --quiet --workspace --all-features --target-dir "$$folder"

deny: ## What the tree of dependencies may hold: licences, sources, known holes; installs cargo-deny when it is missing
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: installing it with cargo, which takes minutes"; cargo install --locked --quiet cargo-deny; }
	cargo deny --locked check bans licenses sources
	cargo deny --locked check advisories

layout: ## The Redis layout in figures, beside a bare loop
	cargo bench --quiet --package retraced-jobs --bench layout

parts: ## What the parts cost that a job passes through, one at a time, without a server
	cargo bench --quiet --bench parts

latency: ## How soon an idle worker begins, in figures
	cargo bench --quiet --bench latency

scale: redis ## A million queued jobs and a million dead letters: what they cost a worker, and each script
	RETRACED_SCALE=full cargo test --quiet --release --test scale -- --nocapture --test-threads=1

benchmarks: redis ## ReTraced beside a bare loop and, with PEERS=FOLDER of their harness, other queues, in turns; writes BENCHMARKS.md
	@PEERS="$(PEERS)" scripts/benchmarks

torture: redis nextest ## All that is known to go wrong, at full size; writes docs/torture.md
	@scripts/torture

mutants: redis nextest ## Breaks the code in many places; a test must notice each. Writes docs/mutants.md
	@scripts/mutants

redis: ## Finds a redis-server or valkey-server, or installs one with the system's package manager
	@scripts/ensure-redis

nextest:
	@command -v cargo-nextest >/dev/null || { echo "cargo-nextest is missing: installing it with cargo"; cargo install --locked --quiet cargo-nextest; }
