#!/usr/bin/env bash
# Checks the answers that tests recorded in the folder TRANSCRIPT against docs/openapi.json, and closes a
# session of `platform demo` with a client that oapi-codegen makes from it. make test calls it.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 TRANSCRIPT" >&2; exit 2; }
transcript=$(cd "$1" && pwd)
cd "$(dirname "$0")"
go tool oapi-codegen -config client/codegen.yaml ../../docs/openapi.json
go vet ./...
go test -count=1 ./...
go build -C ../.. -o bench/out/ ./cmd/platform
go run ./closesession -platform ../out/platform
go run . -transcript "$transcript"
