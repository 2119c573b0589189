#!/usr/bin/env bash
# Builds the platform as it is shipped and has bench/main.go measure its memory with N idle
# connections. make idle calls it with TEST_POSTGRES_URL and TEST_REDIS_URL set.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

CGO_ENABLED=0 go build -trimpath -ldflags=-s -o "$dir/" ./cmd/platform ./bench
"$dir/bench" idle -binaries "$dir" -n "${N:-5000}"
