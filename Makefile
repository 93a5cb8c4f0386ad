# make test is all there is to run before a commit. It needs a Go toolchain and
# the Go module proxy; tests that need more say so and are skipped, except under
# CI, where .ci/run installs it. Where a C compiler is missing, so is the race
# detector.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI    = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
APIDIFF     = golang.org/x/exp/cmd/apidiff@v0.0.0-20261113113407-e3970619a1a4
SBOM        = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
OLDEST      = go1.26.0
NEWEST      = go1.27.3
FUZZTIME    = 10s
SHORTTIME   = 3s
TIMEOUT     = 8m
SOAK        = 10m
SIMULATE    = 1000000

NESTED  := $(sort $(shell find . -mindepth 2 -name go.mod -not -path '*/.*/*' -not -path '*/testdata/*'))
MODULES := . $(patsubst %/go.mod,%,$(NESTED))
RACE    := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# What "make mutate" changes the conditions of: all that verifies, refreshes and grants.
MUTATED = verify.go callback.go pkce.go authz.go refresh.go source.go \
	internal/claims internal/rotate internal/tokens internal/jws internal/jwks

# A module that go.work does not list is taken by itself.
each = @set -e; for dir in $(MODULES); do ( \
	cd $$dir; \
	go list -m -f '{{.Dir}}' 2>/dev/null | grep -qxF "$$(pwd -P)" || export GOWORK=off; \
	echo "== $$dir: $(1)"; $(1) ); done

.NOTPARALLEL:
.PHONY: help test fmt vet race burst oldest newest lint test-core cover fuzz fuzz-short soak simulate \
	compat fips golangci vuln apidiff sbom mutate trust

test: fmt vet race burst oldest newest compat fips lint vuln apidiff ## everything: format, vet, tests of all modules, other Gos, staticcheck, what is known
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

burst: ## 10,000 sessions that expire at once in four processes over Redis: without -race, whose price is the machine's
	cd internal/e2e && go test -count=1 -timeout $(TIMEOUT) -run '^TestBurst$$' ./refresh

oldest: ## the core's tests with the oldest Go that go.mod allows, and the versions in it
	GOWORK=off GOTOOLCHAIN=$(OLDEST) go test -timeout $(TIMEOUT) ./...

newest: ## the core's tests with the newest Go
	GOWORK=off GOTOOLCHAIN=$(NEWEST) go test -timeout $(TIMEOUT) ./...

lint: ## staticcheck in every module
	$(call each,go run $(STATICCHECK) ./...)

test-core: ## the core's tests alone
	GOWORK=off go test $(RACE) -timeout $(TIMEOUT) ./...

cover: ## prints how much of the core its tests reach
	GOWORK=off go test -coverprofile=coverage.out -coverpkg=$$(go list ./... | grep -v '/internal/test' | paste -sd,) ./...
	@go tool cover -func=coverage.out | tail -n 1

fuzz: ## every fuzz target of the core for FUZZTIME; TARGET=FuzzX: that one, PARALLEL=1: one worker
	@FUZZTIME='$(FUZZTIME)' TARGET='$(TARGET)' PARALLEL='$(PARALLEL)' .ci/fuzz

fuzz-short: ## the same for SHORTTIME each, and only the summary unless one fails
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	FUZZTIME='$(SHORTTIME)' TARGET='$(TARGET)' PARALLEL='$(PARALLEL)' .ci/fuzz >"$$log" 2>&1 || { cat "$$log"; exit 1; }; \
	tail -n 1 "$$log"

simulate: ## SIMULATE histories of refreshes in virtual time, against a model issuer; SEED=n: that one, printed
	SIMULATE=$(SIMULATE) SEED=$(SEED) GOWORK=off go test -count=1 -timeout 0 -v -run '^TestSimulate$$' ./internal/test/refresh/simulation

soak: ## many sessions and random faults for SOAK, and 1,000,000 refresh tokens: failures typed, memory flat
	SOAK=$(SOAK) GOWORK=off go test $(RACE) -count=1 -timeout 0 -v -p 1 -run '^(TestSoak|TestMemoryIsBounded)$$' ./internal/test/...

# Without cgo and with the new encoding/json: one build for both.
compat: ## the core without cgo, with encoding/json/v2, and for 32 bits, Windows and macOS
	GOWORK=off CGO_ENABLED=0 GOEXPERIMENT=jsonv2 go test -timeout $(TIMEOUT) ./...
	GOWORK=off GOOS=windows GOARCH=386 go vet ./...
	GOWORK=off GOOS=darwin GOARCH=arm64 go vet ./...

fips: ## the core's tests in FIPS 140-3 mode
	.ci/fips -timeout $(TIMEOUT)

golangci: ## golangci-lint in every module; no part of test, since it takes minutes to build
	$(call each,go run $(GOLANGCI) run ./...)

vuln: ## govulncheck in every module, where its database can be reached
	@.ci/vuln $(GOVULNCHECK) $(MODULES)

apidiff: ## fails for a change since the last tag that breaks users and is not in CHANGELOG.md
	@.ci/apidiff $(APIDIFF)

sbom: ## writes sbom.json: what the core is made of, in the form of CycloneDX
	GOWORK=off go run $(SBOM) mod -type library -json -noserial -notimestamp -output sbom.json .

trust: ## what a reviewer asks first: refusals, faults, secrets, a short fuzz, mutants, and a summary
	@.ci/trust

mutate: ## changes every condition of MUTATED, one at a time: a test must notice; ONLY=regexp: those alone
	@GOWORK=off go -C internal/tools run ./mutate -root ../.. -suites ./internal/test/... $(if $(ONLY),-only '$(ONLY)') $(MUTATED)
