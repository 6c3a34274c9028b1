# The commands of a day. CONTRIBUTING.md says what each costs.
.PHONY: run check test test-all lint faults simulate bench dist

run: ## everything in one process, at http://127.0.0.1:8080
	cargo run --release

check: ## does it compile, tests and all
	cargo check --workspace --all-targets

test: ## what needs no service
	cargo test

test-all: ## every test, on real services
	tests/run.sh

lint: ## format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --test services -- -D warnings

simulate: ## 10,000 schedules of faults over the real stages
	tests/simulate.sh

faults: ## a real installation, broken under load
	tests/faults.sh --minutes 5

bench: ## messages a second through the whole chain
	cargo run --profile dist --package bench -- chain

dist: ## the binary that is shipped
	cargo build --profile dist
