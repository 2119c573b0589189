#!/usr/bin/env bash
# Builds the platform as it is shipped and the bare proxy, and has bench/main.go measure them and nginx on one
# core, with upstream and load generator on the others. make bench calls it with TEST_POSTGRES_URL and
# TEST_REDIS_URL set; make replicas with BENCH_WHAT=replicas, which measures one replica and three instead;
# make latency with BENCH_WHAT=latency, which measures what each adds to the upstream's BENCH_DELAY.
# BENCH_ROUNDS, BENCH_SECONDS, BENCH_CONNECTIONS and BENCH_MERCHANTS set the amount; BENCH_OTHER is
# another build of the platform to measure as well, BENCH_PROFILE a file for a CPU profile, and
# BENCH_UNDER a command that runs everything: on a busy machine, "chrt -f 1" as root gives it priority.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v wrk >/dev/null; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing wrk" >&2
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk >/dev/null
	else
		echo "missing: wrk. Install it." >&2
		exit 1
	fi
fi

# The cores that this process may use: the first for the measured programs, the others for the load.
mapfile -t cores < <(taskset -cp $$ | sed 's/.*: //' | tr ',' '\n' | while IFS=- read -r from to; do seq "$from" "${to:-$from}"; done)
if [ ${#cores[@]} -lt 2 ]; then
	echo "two cores are needed: one for what is measured, one for the load" >&2
	exit 1
fi
others=$(IFS=,; echo "${cores[*]:1}")

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

CGO_ENABLED=0 go build -trimpath -ldflags=-s -o "$dir/" ./cmd/platform ./bench ./bench/bareproxy

what=(-profile "${BENCH_PROFILE:-}" -other "${BENCH_OTHER:-}" -peers)
command=() tls=()
if [ "${BENCH_TLS:-off}" = on ]; then tls=(-tls); fi
if [ -n "${BENCH_WHAT:-}" ]; then what=() command=("$BENCH_WHAT"); fi
if [ "${BENCH_WHAT:-}" = latency ]; then what=(-delay "${BENCH_DELAY:-20ms}" -part "${BENCH_PART:-0.5}"); fi

${BENCH_UNDER:-} taskset -c "$others" "$dir/bench" "${command[@]}" -core "${cores[0]}" -binaries "$dir" -script bench/load.lua \
	-rounds "${BENCH_ROUNDS:-5}" -duration "${BENCH_SECONDS:-4}s" -connections "${BENCH_CONNECTIONS:-32}" -merchants "${BENCH_MERCHANTS:-1}" "${tls[@]}" "${what[@]}"
