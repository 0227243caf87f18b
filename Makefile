# `make` prints what there is. Everything here also runs without make: each recipe is one command.

GO       ?= go
SEED     ?= 1
SEEDS    ?= 1..100
FOR      ?= 60s
FUZZTIME ?= 10m
SUITES   ?= $(abspath ../shared/conformance)
KARST    ?= $(abspath bin/karst)
CEILING  ?=
PEERS    ?= $(abspath ../shared/peers)
export CEILING PEERS

.PHONY: help build quick check lint sim sweep year soak mutants canary operators equivalence fuzz conformance demo bench

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/karst
	$(GO) build -o bin/karst ./cmd/karst

quick: ## the tests of what decides, in about 20 s
	$(GO) test ./core/... ./checker/... ./diskio/fake ./netsim/fake ./cmd/karst-vet ./cmd/karst-gen

check: ## every test, and go vet
	$(GO) vet ./...
	$(GO) test ./...

lint: ## karst-vet, go vet, staticcheck
	$(GO) run ./cmd/karst-vet
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -checks inherit,-ST1005 ./...

sim: ## one seed of the simulator, SEED=n FOR=60s, or PLAN=file; TRACE=--trace prints every event
	$(GO) run ./cmd/karst sim run $(if $(PLAN),--plan $(PLAN),--seed $(SEED) --for $(FOR)) $(TRACE)

sweep: ## many seeds, each twice; SEEDS=a..b FOR=60s
	$(GO) run ./cmd/karst sim run --seeds $(SEEDS) --for $(FOR) --twice

year: ## a year of virtual time with sparse load; what it took stands in docs/soak.md
	$(GO) run ./cmd/karst sim run --plan sim/testdata/year.plan

soak: ## seeds that nobody has played, into docs/soak.md; FOR_HOURS=h or SEEDS=n, else until ^C; FOR=60s
	GO="$(GO)" FOR=$(FOR) FOR_HOURS=$(FOR_HOURS) SEEDS=$(if $(findstring ..,$(SEEDS)),,$(SEEDS)) .ci/soak

mutants: ## plants each bug of the code in turn; the simulator must find it within 500 seeds
	GO="$(GO)" .ci/mutants

canary: ## a sweep that must be red turns a stage of .ci/run red
	GO="$(GO)" .ci/mutants canary

operators: ## small bugs drawn from the code by the commit: MANY=few (20) or many (300)
	experiments/02-detection/operators.sh $(or $(MANY),few)

equivalence: ## 100,000 random histories on which the exact checkers and porcupine must agree
	$(GO) test ./checker/linear -run TestEquivalence -v -args -histories 100000

fuzz: ## each fuzz target for FUZZTIME=10m
	GO="$(GO)" FUZZTIME=$(FUZZTIME) .ci/fuzz

conformance: build ## foreign suites, whole: ported.sh and clients.sh of SUITES=../shared/conformance
	SUITES="$(SUITES)" KARST="$(abspath bin/karst)" .ci/conformance/whole

demo: ## the main job on real flights
	$(GO) run ./cmd/karst demo

bench: build ## the measurements of experiments/01-spine; CEILING=DIR PEERS=DIR, WHAT="power rolling" for some
	KARST="$(KARST)" experiments/01-spine/run.sh $(WHAT)
