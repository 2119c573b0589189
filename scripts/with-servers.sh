#!/usr/bin/env bash
# Runs a command with TEST_POSTGRES_URL and TEST_REDIS_URL set. Where one of them is not set, a private server is started for it on a free loopback port, in a
# temporary directory, and stopped afterwards; the system's own services are left alone. Nothing is skipped: what is missing is installed (apt, as root) or named.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT…]" >&2; exit 2; }

# Found on the PATH first, then where Debian keeps PostgreSQL's servers.
postgres_bin() {
	local pg
	if pg=$(command -v initdb); then dirname "$pg"; return; fi
	ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1
}

need_postgres() { [ -z "${TEST_POSTGRES_URL:-}" ] && [ ! -x "$(postgres_bin)/initdb" ]; }
need_redis() { [ -z "${TEST_REDIS_URL:-}" ] && ! command -v redis-server >/dev/null; }
need_gcc() { ! command -v gcc >/dev/null; }
need_promtool() { [ -n "${WITH_PROMTOOL:-}" ] && ! command -v promtool >/dev/null; }

missing=()
need_gcc && missing+=(gcc libc6-dev)
need_postgres && missing+=(postgresql)
need_redis && missing+=(redis-server)
need_promtool && missing+=(prometheus)
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing ${missing[*]}" >&2
		apt-get update -qq
		# Installed, but not started: these tests have servers of their own.
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null || { rm -f /usr/sbin/policy-rc.d; exit 1; }
		rm -f /usr/sbin/policy-rc.d
	else
		echo "missing: ${missing[*]}. Install them, or set TEST_POSTGRES_URL and TEST_REDIS_URL." >&2
		exit 1
	fi
fi

dir=$(mktemp -d)
chmod 755 "$dir"
stop() {
	local status=$?
	[ -f "$dir/redis.pid" ] && kill "$(cat "$dir/redis.pid")" 2>/dev/null || true
	[ -d "$dir/pg" ] && as_postgres "$(postgres_bin)/pg_ctl" -D "$dir/pg" -m immediate -w stop >/dev/null 2>&1 || true
	sleep 0.2
	rm -rf "$dir"
	exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])' 2>/dev/null || shuf -i 20000-29999 -n 1; }

if [ -z "${TEST_POSTGRES_URL:-}" ]; then
	mkdir "$dir/pg"
	[ "$(id -u)" = 0 ] && chown postgres "$dir/pg"
	port=$(free_port)
	as_postgres "$(postgres_bin)/initdb" -D "$dir/pg" -U test --auth=trust -E UTF8 --locale=C.UTF-8 >/dev/null
	as_postgres "$(postgres_bin)/pg_ctl" -D "$dir/pg" -w -l "$dir/pg/log" \
		-o "-c listen_addresses=127.0.0.1 -p $port -c unix_socket_directories=$dir/pg -c max_connections=300" start >/dev/null
	export TEST_POSTGRES_URL="postgres://test@127.0.0.1:$port/postgres?sslmode=disable"
fi

if [ -z "${TEST_REDIS_URL:-}" ]; then
	port=$(free_port)
	redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no --daemonize yes --pidfile "$dir/redis.pid" --dir "$dir" --logfile "$dir/redis.log" >/dev/null
	for _ in $(seq 50); do redis-cli -p "$port" ping >/dev/null 2>&1 && break; sleep 0.1; done
	export TEST_REDIS_URL="redis://127.0.0.1:$port"
fi

"$@"
