#!/usr/bin/env bash
# Builds the platform as it is shipped and has bench/main.go measure what a quiet tenant notices of a
# noisy one. make fair calls it with TEST_POSTGRES_URL and TEST_REDIS_URL set. FAIR_FLAGS are more flags
# (bench fair -help).
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

CGO_ENABLED=0 go build -trimpath -ldflags=-s -o "$dir/" ./cmd/platform ./bench

# shellcheck disable=SC2086 # several flags
"$dir/bench" fair -binaries "$dir" ${FAIR_FLAGS:-}
