#!/usr/bin/env bash
# Runs a command with TEST_POSTGRES_URL and TEST_REDIS_URL set. For one that is not set it starts a
# private server on a free loopback port, in a temporary directory, and stops it afterwards, also when
# interrupted. The system's own services are left alone. A missing program is installed (with apt, as
# root) or named.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT…]" >&2; exit 2; }

dir= child= policy=
policy_file=/usr/sbin/policy-rc.d

stop() {
	local status=$?
	trap - EXIT
	[ -z "$policy" ] || rm -f "$policy_file"
	[ -n "$dir" ] || exit "$status"
	if [ -f "$dir/redis.pid" ]; then kill "$(cat "$dir/redis.pid")" 2>/dev/null || true; fi
	if [ -d "$dir/pg" ]; then as_postgres "$(postgres_bin)/pg_ctl" -D "$dir/pg" -m immediate -w stop >/dev/null 2>&1 || true; fi
	sleep 0.2
	rm -rf "$dir"
	exit "$status"
}

# interrupted ends the command and all that it started: they are one process group.
interrupted() {
	trap '' INT TERM HUP
	if [ -n "$child" ]; then
		kill -TERM -- "-$child" 2>/dev/null || true
		for _ in $(seq 100); do kill -0 -- "-$child" 2>/dev/null || break; sleep 0.1; done
		kill -KILL -- "-$child" 2>/dev/null || true
	fi
	exit "$1"
}
trap stop EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'interrupted 129' HUP

# postgres_bin prints the folder of initdb: on the PATH, or where Debian keeps it.
postgres_bin() {
	local pg
	if pg=$(command -v initdb); then dirname "$pg"; return; fi
	ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1
}

# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

need_postgres() { [ -z "${TEST_POSTGRES_URL:-}" ] && [ ! -x "$(postgres_bin)/initdb" ]; }
need_redis() { [ -z "${TEST_REDIS_URL:-}" ] && ! command -v redis-server >/dev/null; }
need_gcc() { ! command -v gcc >/dev/null; }
need_nginx() { [ -n "${WITH_NGINX:-}" ] && { ! command -v nginx >/dev/null || [ ! -e /usr/lib/nginx/modules/ngx_http_lua_module.so ]; }; }
need_promtool() { [ -n "${WITH_PROMTOOL:-}" ] && ! command -v promtool >/dev/null; }

# apt waits up to ten minutes while another process installs something. DPkg::Lock::Timeout covers only
# one of apt's three locks.
apt() {
	local said waited=0
	until said=$(DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@" 2>&1 >/dev/null); do
		if [ $waited -ge 600 ] || ! grep -qE 'Could not get lock|Unable to (acquire|lock)' <<<"$said"; then
			echo "$said" >&2
			return 1
		fi
		[ $waited -gt 0 ] || echo "another process is installing packages: waiting for apt's lock" >&2
		sleep 2
		waited=$((waited + 2))
	done
}

# install installs packages without starting their servers: the tests have their own. An existing
# policy-rc.d stays as it is.
install() {
	echo "installing $*" >&2
	apt update
	if (set -o noclobber && printf '#!/bin/sh\nexit 101\n' >"$policy_file") 2>/dev/null; then
		policy=ours
		chmod +x "$policy_file"
	fi
	apt install -y "$@"
	[ -z "$policy" ] || rm -f "$policy_file"
	policy=
}

missing=()
need_gcc && missing+=(gcc libc6-dev)
need_postgres && missing+=(postgresql)
need_redis && missing+=(redis-server)
need_promtool && missing+=(prometheus)
need_nginx && missing+=(nginx libnginx-mod-http-lua lua-resty-core lua-resty-lrucache lua-nginx-redis lua-cjson)
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		install "${missing[@]}"
	else
		echo "missing: ${missing[*]}. Install them, or set TEST_POSTGRES_URL and TEST_REDIS_URL." >&2
		exit 1
	fi
fi

dir=$(mktemp -d)
chmod 755 "$dir"

# free_port prints a port below those that the kernel gives to clients. Another process may take it
# before the server does, so started tries several.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

# The tests need no database that survives a power cut, so nothing is synced.
# start_postgres does without the disk, unless WITH_FSYNC is set: nothing here has to outlive the machine.
start_postgres() {
	local disk=off
	[ -z "${WITH_FSYNC:-}" ] || disk=on
	as_postgres "$(postgres_bin)/pg_ctl" -D "$dir/pg" -w -t 120 -l "$dir/pg/log" \
		-o "-c listen_addresses=127.0.0.1 -p $1 -c unix_socket_directories=$dir/pg -c max_connections=300 -c fsync=$disk -c full_page_writes=$disk" start >/dev/null
}

start_redis() {
	rm -f "$dir/redis.pid"
	redis-server --bind 127.0.0.1 --port "$1" --save '' --appendonly no --daemonize yes --pidfile "$dir/redis.pid" --dir "$dir" --logfile "$dir/redis.log" >/dev/null
	for _ in $(seq 100); do
		if [ -s "$dir/redis.pid" ] && redis-cli -p "$1" info server 2>/dev/null | grep -q "^process_id:$(cat "$dir/redis.pid")"; then return 0; fi
		if grep -qi 'address already in use' "$dir/redis.log" 2>/dev/null; then return 1; fi
		sleep 0.1
	done
	return 1
}

# started starts a server on one of a few ports and sets port, or prints the server's log and fails.
started() {
	for _ in 1 2 3 4 5; do
		port=$(free_port)
		if "$1" "$port"; then return; fi
	done
	cat "$2" >&2 || true
	echo "$1: failed on five ports" >&2
	exit 1
}

if [ -z "${TEST_POSTGRES_URL:-}" ]; then
	mkdir "$dir/pg"
	[ "$(id -u)" != 0 ] || chown postgres "$dir/pg"
	as_postgres "$(postgres_bin)/initdb" -D "$dir/pg" -U test --auth=trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
	started start_postgres "$dir/pg/log"
	export TEST_POSTGRES_URL="postgres://test@127.0.0.1:$port/postgres?sslmode=disable"
fi

if [ -z "${TEST_REDIS_URL:-}" ]; then
	started start_redis "$dir/redis.log"
	export TEST_REDIS_URL="redis://127.0.0.1:$port"
fi

# Job control gives the command its own process group, which interrupted ends.
set -m
"$@" <&0 &
child=$!
set +m
wait "$child"
