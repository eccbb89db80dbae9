.PHONY: help up down demo test test-all soak check bench image generate clean

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

up: ## a local cluster with Mayday, left running
	@dev/up

down: ## stop what `make up` started
	@dev/down

demo: ## two outages from beginning to end, on a fresh local cluster
	@dev/demo

test: ## everything that proves it works; T=name for a part
	@dev/test $(T)

test-all: ## the same, with what is slow and rarely fails, and many cases of the properties
	@dev/test --all $(T)

soak: ## many runs under faults and kills; RUNS=1000, MAYDAY_SEED=n for the same numbers
	@dev/soak $(RUNS)

check: ## format, lints, generated files, docs, chart
	@dev/check

bench: ## benchmarks, as ratios measured in one run
	@dev/bench

image: ## the operator's image, without a daemon, and the proof that it runs
	@dev/image

generate: ## write the generated files again
	cargo run --quiet --features failpoints --bin mayday -- crds crds

clean: down ## stop everything and delete what was built
	cargo clean
