#!/usr/bin/env bash
# Builds the platform as it is shipped and has bench/main.go fill a database with authorizers and watch
# the keeper. make scale calls it with TEST_POSTGRES_URL and TEST_REDIS_URL set. N is the number of
# authorizers, SCALE_TIME how long it runs, SCALE_FLAGS more flags (bench scale -help). With -life among
# them the platform is the fault suite's build: only that one accepts token lives other than WeChat's.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

tags=
case " ${SCALE_FLAGS:-} " in *" -life"*) tags=failpoints ;; esac
CGO_ENABLED=0 go build -trimpath -ldflags=-s -tags "$tags" -o "$dir/" ./cmd/platform ./bench

# shellcheck disable=SC2086 # several flags
"$dir/bench" scale -binaries "$dir" -n "${N:-100000}" -time "${SCALE_TIME:-6m}" ${SCALE_FLAGS:-}
