.PHONY: help demo test flaky faults simulate mutants lint bench scale build clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { line = sprintf("  %-10s", $$1); n = split($$2, word, " "); \
		for (i = 1; i <= n; i++) { if (length(line " " word[i]) > 100) { print line; line = sprintf("%12s", "") }; line = line " " word[i] }; print line }' Makefile

demo: ## the whole story, with a simulated WeChat and no configuration
	go run ./cmd/platform demo --once

test: ## everything, with the race detector, on SQLite and PostgreSQL, in-process Redis and a real one, and the most telling faults; skips nothing
	WITH_PROMTOOL=1 SIMULATE=400 scripts/with-servers.sh go run ./internal/suite test

# ROUNDS=5 ONLY='token|mirror' make flaky runs some packages five times.
flaky: ## every package 20 times with the race detector beside four busy loops, but for the faults and the simulation; says which test failed in which run; half an hour
	WITH_PROMTOOL=1 scripts/with-servers.sh go run ./internal/suite flaky

# Go prints a package's lines as they come only where no package is named. FAULTS='Redis|killed' make faults runs the scenarios of such names alone, FAULTS_RACE=1 has the platforms report races. WeChat is odd in the ways that real platforms met, unless FAULTS_FIELD=0.
faults: ## every fault: processes killed and stopped at each step, Redis, PostgreSQL and WeChat struck; a line for each, and failure if an invariant is violated; then the simulation; about half an hour
	FAULTS=$${FAULTS:-all} scripts/with-servers.sh sh -c 'cd faults && exec go test -tags failpoints -count=1 -timeout 60m'
	test -n "$$FAULTS" || $(MAKE) simulate

SIMULATE ?= 200000
simulate: ## seeded histories of the code that serves, as many as SIMULATE says (see docs/custody.md)
	cd authorizer && SIMULATE=$(SIMULATE) go test -count=1 -timeout 120m -run 'TestSimulation$$'

MUTANTS ?= 20000
mutants: ## what each guard of custody is worth: the test that goes red without it, and violations in as many histories as MUTANTS says (see docs/custody.md)
	cd authorizer && MUTANTS=$(MUTANTS) go test -count=1 -timeout 300m -run 'TestMutants$$'

lint: ## what CI checks besides the tests
	@test -z "$$(gofmt -l .)" || { gofmt -l . ; echo "gofmt would change these files"; exit 1; }
	go vet ./...
	go vet -tags failpoints ./internal/failpoint ./cmd/platform ./faults
	go tool staticcheck ./...
	go tool staticcheck -tags failpoints ./internal/failpoint ./cmd/platform ./faults
	go mod tidy -diff

bench: ## CPU a request of the platform as it is shipped, beside a bare reverse proxy (see docs/performance.md)
	scripts/with-servers.sh bench/run.sh

N ?= 100000
scale: ## the keeper with N authorizers (make scale N=1000000): refreshes, memory, sizes, and that no token in use expires; six minutes after the filling
	N=$(N) scripts/with-servers.sh bench/scale.sh

build: ## the static binaries that the Dockerfile ships
	CGO_ENABLED=0 go build -trimpath -ldflags=-s -o bin/ ./cmd/...

clean: ## what was built and measured
	rm -rf bin bench/out out
