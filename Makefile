# Weir. `make` prints this help; `make run` and `make test` are all a newcomer needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN     := bin
TOOLS   := .tools
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/weir-registry/weir/internal/app.Version=$(VERSION)
GOTOOL  := go build -modfile=tools/go.mod
TESTFLAGS ?= -race -timeout 15m

.PHONY: help
help: ## print this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

.PHONY: build
build: $(BIN)/weir ## build bin/weir

.PHONY: $(BIN)/weir
$(BIN)/weir:
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/weir

.PHONY: run
run: build ## build everything and start the server in ./data
	$(BIN)/weir serve --data ./data

.PHONY: deps
deps: ## install what the tests need from the system's package manager (Debian, as root)
	test/deps.sh

.PHONY: client-tools
client-tools: ## build every client the tests can drive, helm and cosign too (half an hour with a cold build cache)
	test/tools.sh all

.PHONY: test
test: deps build ## everything CI runs for correctness, real clients and databases included
	go test $(TESTFLAGS) ./...
	$(MAKE) clients

.PHONY: clients
clients: build ## drive real clients through the real binary; skips those that are not installed, and says so
	test/tools.sh quick || [ "$${CI:-}" != true ]
	WEIR_BINARY=$(CURDIR)/$(BIN)/weir go test -count=1 -tags clients -timeout 15m -v ./test/clients/...

.PHONY: clients-table
clients-table: build ## write docs/clients.md, the table of what was tried with which client
	WEIR_BINARY=$(CURDIR)/$(BIN)/weir go test -count=1 -tags clients -timeout 15m ./test/clients -update

.PHONY: faults
faults: ## break what is around the server: upstreams, disks, databases, clients, itself (FAULT_TIME=15m for longer)
	go test -count=1 -timeout 2h -v ./test/faults

.PHONY: check
check: lint generated test ## exactly what CI runs: lint, layering, generated code, tests

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## static analysis
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run make fmt'; exit 1; }
	go vet ./...
	$(TOOLS)/golangci-lint run ./...
	$(TOOLS)/golangci-lint run --build-tags clients ./test/clients/...

.PHONY: generate
generate: $(TOOLS)/sqlc ## regenerate SQL code and generated documents
	$(TOOLS)/sqlc generate
	go test -count=1 ./internal/config ./internal/telemetry -run Reference -update >/dev/null
	go test -count=1 ./internal/serve/api -run OpenAPI -update >/dev/null
	go test -count=1 ./cmd/weir -run Reference -update >/dev/null
	go test -count=1 ./internal/serve/distribution -run ErrorBytes -update >/dev/null
	go test -count=1 ./test/faults -run Reference -update >/dev/null
	go test -count=1 ./internal/store/meta -run QueryPlans -update >/dev/null

.PHONY: generated
generated: $(TOOLS)/sqlc ## fail when generated code differs from what is committed
	$(TOOLS)/sqlc diff

.PHONY: fmt
fmt: ## format
	gofmt -w $$(git ls-files '*.go')

.PHONY: fuzz
fuzz: ## fuzz each parser for a minute (FUZZTIME=10m for longer, KEEP=1 adds to the corpora)
	test/fuzz.sh $${FUZZTIME:-1m}

.PHONY: bench
bench: build ## measure the server beside floors and peers (ROWS=manifest,push for some; UPDATE=1 writes docs/performance.md)
	go build -o $(BIN)/bench ./test/bench
	$(BIN)/bench -weir $(BIN)/weir $(if $(ROWS),-rows $(ROWS)) $(if $(UPDATE),-update docs/performance.md) $(BENCHFLAGS)

.PHONY: growth
growth: ## stores of up to SIZE artifacts on both engines, measured into docs/performance.md (SIZE=110000: an hour)
	@for engine in sqlite postgres; do for size in $$(($${SIZE:-110000} / 100)) $$(($${SIZE:-110000} / 10)) $${SIZE:-110000}; do \
		go test -count=1 -timeout 4h -v -run TestMeasure ./test/growth -args -engine $$engine -size $$size -doc ../../docs/performance.md || exit 1; \
	done; done

.PHONY: shape
shape: ## report the longest files and functions
	go test -count=1 -v -run TestShape ./test/house

.PHONY: conformance
conformance: ## our conformance suite against the whole server: hosted on both databases, virtual with a cold and a warm cache
	go test -count=1 -v ./test/conformance
	go test -count=1 -v -run Conformance ./test/stack

$(TOOLS)/golangci-lint: tools/go.mod
	@mkdir -p $(TOOLS)
	$(GOTOOL) -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/sqlc: tools/go.mod
	@mkdir -p $(TOOLS)
	CGO_ENABLED=0 $(GOTOOL) -o $@ github.com/sqlc-dev/sqlc/cmd/sqlc
