#!/usr/bin/env bash
# Builds the platform as it is shipped and has bench/main.go measure it: shipped.sh WHAT, where
# WHAT is fair, idle, upload or memory, with more flags (bench fair -help). make fair and the like call it
# with TEST_POSTGRES_URL and TEST_REDIS_URL set.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

what=$1
shift
CGO_ENABLED=0 go build -trimpath -ldflags=-s -o "$dir/" ./cmd/platform ./bench
"$dir/bench" "$what" -binaries "$dir" "$@"
