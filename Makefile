# The commands of this project. They are the same on every machine and in CI.
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help demo test check unit examples docs package deny layout parts latency scale benchmarks torture mutants mutation compat redis nextest
# The torture scenarios that CI runs, in a quick form.
SAMPLE := binary(torture) and test(/::t(01|02|06|07|08|09|14|24|25|33)_/)

help: ## Prints this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1  \2/p' Makefile

demo: ## Shows the supervision tree live in this terminal while jobs fail and actors are killed; needs no Redis
	@cargo run --package retraced-cli -- demo

test: check unit examples docs ## Runs everything CI checks

check: ## Checks formatting and lints, with all features, with the default features and with none
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --package retraced --package retraced-jobs --all-targets --no-default-features -- -D warnings

unit: redis nextest ## Runs all tests and doctests with all features, and the tests of the memory store without features
	cargo nextest run --workspace --all-features -E 'not test(/::t[0-9]+_/) or $(SAMPLE)'
	cargo nextest run --package retraced --package retraced-jobs --no-default-features
	cargo test --quiet --workspace --doc --all-features

examples: ## Builds every example; the tests run them and check their output
	cargo build --quiet --examples
	cargo build --quiet --examples --no-default-features

docs: ## Builds the API documentation, with warnings denied; checks that every public type has an example
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --all-features
	@scripts/check-examples

package: ## Packages the four crates as for publishing, and builds each from its package alone
	@# Packages in a new folder each time, because cargo reuses packages that it unpacked before, even if the crates have changed.
	@mkdir -p target; folder=$$(mktemp -d target/package-XXXXXX); trap 'rm -rf "$$folder"' EXIT; \
	cargo package --quiet --workspace --all-features --target-dir "$$folder"

deny: ## Checks the dependencies' licences, sources and security advisories; installs cargo-deny when it is missing
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: installing it with cargo, which takes minutes"; cargo install --locked --quiet cargo-deny; }
	cargo deny --locked check bans licenses sources
	cargo deny --locked check advisories

layout: ## Measures the Redis layout and compares it with a bare loop
	cargo bench --quiet --package retraced-jobs --bench layout

parts: ## Measures the cost of each part a job passes through, without a server
	cargo bench --quiet --bench parts

latency: ## Measures how soon an idle worker starts a job
	cargo bench --quiet --bench latency

scale: redis ## Measures workers and scripts with a million queued jobs and a million dead letters
	RETRACED_SCALE=full cargo test --quiet --release --test scale -- --nocapture --test-threads=1

benchmarks: redis ## Compares ReTraced with a bare loop and, given PEERS=FOLDER of their harness, with other queues; writes BENCHMARKS.md
	@PEERS="$(PEERS)" scripts/benchmarks

torture: redis nextest ## Runs all fault injection scenarios at full size; writes docs/torture.md
	@scripts/torture

mutants: redis nextest ## Applies each mutant and checks that its tests fail; writes docs/mutants.md
	@scripts/mutants

mutation: ## Changes the code in many small places and checks that the tests notice (cargo-mutants, one part of twenty); writes docs/mutation.md
	@scripts/mutation

compat: nextest ## Runs the tests of the Redis store on Redis 6.2 and on Valkey, which it downloads
	scripts/compat

redis: ## Checks for redis-server or valkey-server, and installs one with the system's package manager if there is none
	@scripts/ensure-redis

nextest:
	@command -v cargo-nextest >/dev/null || { echo "cargo-nextest is missing: installing it with cargo"; cargo install --locked --quiet cargo-nextest; }
