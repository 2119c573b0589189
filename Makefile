.PHONY: help deploy release alerts upload replicas latency demo test sdk flaky faults simulate mutants comments lint bench idle memory scale fair build clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { line = sprintf("  %-10s", $$1); n = split($$2, word, " "); \
		for (i = 1; i <= n; i++) { if (length(line " " word[i]) > 100) { print line; line = sprintf("%12s", "") }; line = line " " word[i] }; print line }' Makefile

demo: ## run every step from invitation to closed session, with a simulated WeChat and no configuration
	go run ./cmd/platform demo --once

test: ## run all tests with the race detector, on SQLite and PostgreSQL, with in-process and real Redis, and the most significant faults
	WITH_PROMTOOL=1 SIMULATE=400 scripts/with-servers.sh go run ./internal/suite test

# ONLY='silenceper|wechat-api' make sdk runs the SDKs whose names match. The table is also out/sdk.json.
sdk: ## run seven WeChat SDKs, unmodified, against the built platform, and print a table of SDKs and cases (docs/sdk.md)
	bench/sdk/run.sh

# ROUNDS=5 ONLY='token|mirror' make flaky runs the named packages five times.
flaky: ## run every package 20 times under load with the race detector, to find unsteady tests; four hours on two cores (ROUNDS=2: half an hour)
	WITH_PROMTOOL=1 scripts/with-servers.sh go run ./internal/suite flaky

# FAULTS='Redis|killed' make faults runs only the scenarios whose names match. FAULTS_RACE=1 builds
# the platforms with the race detector. The simulated WeChat deviates from its documentation as seen
# in production, unless FAULTS_FIELD=0. go test runs inside the folder, because it prints lines as
# they come only if no package is named.
faults: ## run every fault scenario: processes killed at each step, Redis, PostgreSQL and WeChat failing; then the simulation; half an hour
	FAULTS=$${FAULTS:-all} scripts/with-servers.sh sh -c 'cd faults && exec go test -tags failpoints -count=1 -timeout 60m'
	test -n "$$FAULTS" || $(MAKE) simulate

SIMULATE ?= 200000
simulate: ## run SIMULATE random histories of token custody, with seeds, checked for its invariants (docs/custody.md)
	cd authorizer && SIMULATE=$(SIMULATE) go test -count=1 -timeout 120m -run 'TestSimulation$$'

MUTANTS ?= 20000
mutants: ## remove each guard of token custody in turn; a test and MUTANTS histories must notice (docs/custody.md)
	cd authorizer && MUTANTS=$(MUTANTS) go test -count=1 -timeout 300m -run 'TestMutants$$'

comments: ## list whole-line Go comments over 100 characters
	@git ls-files -z '*.go' | LC_ALL=C xargs -0 awk '/^[ \t]*\/\// { line = $$0; gsub(/[\200-\277]/, "", line); \
		if (length(line) > 100) { print FILENAME ":" FNR ": comment over 100 characters"; wide = 1 } } END { exit wide }'

lint: comments ## gofmt, vet, staticcheck and go mod tidy: what CI checks besides the tests
	@test -z "$$(gofmt -l .)" || { gofmt -l . ; echo "gofmt would change these files"; exit 1; }
	go vet ./...
	go vet -tags failpoints ./internal/failpoint ./cmd/platform ./faults
	go tool staticcheck ./...
	go tool staticcheck -tags failpoints ./internal/failpoint ./cmd/platform ./faults
	go mod tidy -diff

bench: ## measure the CPU per request of the platform, a bare reverse proxy, nginx, and nginx with Lua (docs/performance.md)
	WITH_NGINX=1 scripts/with-servers.sh bench/run.sh

# BENCH_ROUNDS, BENCH_SECONDS, BENCH_CONNECTIONS and BENCH_MERCHANTS as for make bench.
replicas: ## measure the CPU per request of one replica and of three on one PostgreSQL and Redis; fails if three take a tenth more
	BENCH_WHAT=replicas scripts/with-servers.sh bench/run.sh

# BENCH_DELAY=20ms is how long WeChat takes, BENCH_PART=0.5 how much of its most requests a second.
latency: ## measure how much later answers come through the platform than from WeChat itself, at half of its most requests a second
	WITH_NGINX=1 BENCH_WHAT=latency scripts/with-servers.sh bench/run.sh

N ?= 100000
scale: ## measure the keeper with N authorizers: refreshes, memory, and that no token in use expires (make scale N=1000000)
	N=$(N) scripts/with-servers.sh bench/scale.sh

fair: ## measure what a quiet tenant notices of a noisy one with up to 5,000 slow calls in flight, and what a refused call costs
	scripts/with-servers.sh bench/shipped.sh fair $(FAIR_FLAGS)

IDLE ?= 5000
idle: ## measure the memory of IDLE idle connections (docs/performance.md)
	scripts/with-servers.sh bench/shipped.sh idle -connections $(IDLE)

upload: ## measure the memory of 50 uploads of 20 MB at once (docs/performance.md)
	scripts/with-servers.sh bench/shipped.sh upload

memory: ## measure the memory of 100,000 JWTs over 100,000 merchants, and of a million authorizers; fails above 256 and 128 MB
	scripts/with-servers.sh bench/shipped.sh memory -merchants 100000 -most 256
	scripts/with-servers.sh bench/shipped.sh memory -merchants 10000 -idle 990000 -most 128

# ONLY='Nginx|Caddy' make deploy runs only the tests whose names match.
deploy: ## test the Helm chart, the manifests, the systemd unit, the proxies' examples and make release (deploy/README.md)
	deploy/check/run.sh

release: ## build static binaries for Linux and macOS, their checksums and SBOMs from a commit, into out/release/
	scripts/release.sh

RULES = deploy/kubernetes/monitoring/prometheusrule.yaml
alerts: ## copy the alerts of docs/alerts.yml into the manifests
	{ sed '/^spec:/q' $(RULES); sed 's/^./  &/' docs/alerts.yml; } >$(RULES).new
	mv $(RULES).new $(RULES)

build: ## build the static binaries that the Dockerfile ships, into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags=-s -o bin/ ./cmd/...

clean: ## remove what was built and measured
	rm -rf bin bench/out out
