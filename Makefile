.PHONY: demo test faults lint bench scale build clean

demo: ## the whole story, with a simulated WeChat and no configuration
	go run ./cmd/platform demo --once

test: ## everything, with the race detector, on SQLite and PostgreSQL, in-process Redis and a real one; skips nothing
	scripts/with-servers.sh go test -race -count=1 -timeout 20m ./...

faults: ## every fault: processes killed and stopped at each step, Redis, PostgreSQL and WeChat struck; about ten minutes
	FAULTS=all scripts/with-servers.sh go test -tags failpoints -count=1 -timeout 30m -v ./faults

lint: ## what CI checks besides the tests
	@test -z "$$(gofmt -l .)" || { gofmt -l . ; echo "gofmt would change these files"; exit 1; }
	go vet ./...
	go vet -tags failpoints ./internal/failpoint ./cmd/platform ./faults
	go tool staticcheck ./...
	go mod tidy -diff

bench: ## CPU a request of the platform as it is shipped, beside a bare reverse proxy (see docs/performance.md)
	scripts/with-servers.sh bench/run.sh

N ?= 100000
scale: ## the keeper with N authorizers (make scale N=1000000): refreshes, memory, sizes, and that no token in use expires; six minutes after the filling
	N=$(N) scripts/with-servers.sh bench/scale.sh

build: ## the static binaries that the Dockerfile ships
	CGO_ENABLED=0 go build -trimpath -ldflags=-s -o bin/ ./cmd/...

clean:
	rm -rf bin bench/out
