# make test is all there is to run before a commit. It needs a Go toolchain and
# the Go module proxy; tests that need more say so and are skipped, except under
# CI, where .ci/run installs it. Where a C compiler is missing, so is the race
# detector.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
OLDEST      = go1.25.4
FUZZTIME    = 10s
SHORTTIME   = 3s
TIMEOUT     = 4m
SOAK        = 10m

NESTED  := $(sort $(shell find . -mindepth 2 -name go.mod -not -path '*/.*/*' -not -path '*/testdata/*'))
MODULES := . $(patsubst %/go.mod,%,$(NESTED))
RACE    := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# A module that go.work does not list is taken by itself.
each = @set -e; for dir in $(MODULES); do ( \
	cd $$dir; \
	go list -m -f '{{.Dir}}' 2>/dev/null | grep -qxF "$$(pwd -P)" || export GOWORK=off; \
	echo "== $$dir: $(1)"; $(1) ); done

.NOTPARALLEL:
.PHONY: help test fmt vet race oldest lint test-core cover fuzz fuzz-short soak

test: fmt vet race oldest lint ## everything: format, vet, tests of all modules, oldest Go, staticcheck
	@echo "== all of it passed"

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1: /p' Makefile

fmt: ## fails for files that gofmt would change
	@echo "== gofmt -l ."
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w these:"; echo "$$unformatted"; exit 1; }

vet: ## go vet in every module
	$(call each,go vet ./...)

race: ## the tests of every module, with the race detector
	$(if $(RACE),,@echo "== no C compiler: without the race detector")
	$(call each,go test $(RACE) -timeout $(TIMEOUT) ./...)

oldest: ## the core's tests with the oldest Go that go.mod allows, and the versions in it
	GOWORK=off GOTOOLCHAIN=$(OLDEST) go test -timeout $(TIMEOUT) ./...

lint: ## staticcheck in every module
	$(call each,go run $(STATICCHECK) ./...)

test-core: ## the core's tests alone
	GOWORK=off go test $(RACE) -timeout $(TIMEOUT) ./...

cover: ## prints how much of the core its tests reach
	GOWORK=off go test -coverprofile=coverage.out -coverpkg=.,./internal/... ./...
	@go tool cover -func=coverage.out | tail -n 1

fuzz: ## every fuzz target of the core for FUZZTIME; TARGET=FuzzX: that one, PARALLEL=1: one worker
	@FUZZTIME='$(FUZZTIME)' TARGET='$(TARGET)' PARALLEL='$(PARALLEL)' .ci/fuzz

fuzz-short: ## the same for SHORTTIME each, and only the summary unless one fails
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	FUZZTIME='$(SHORTTIME)' TARGET='$(TARGET)' PARALLEL='$(PARALLEL)' .ci/fuzz >"$$log" 2>&1 || { cat "$$log"; exit 1; }; \
	tail -n 1 "$$log"

soak: ## many sessions and random faults for SOAK, by themselves: failures typed, memory flat
	SOAK=$(SOAK) GOWORK=off go test $(RACE) -count=1 -timeout 0 -v -run '^TestSoak$$' .
