#!/usr/bin/env bash
# Creates the missing and empty files in ./secrets that docker-compose.yml reads. With --demo it also creates the
# component's four, which otherwise come from WeChat's console: while one of them is missing or empty,
# the exit status is 1.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }
make_file() { [ -s "secrets/$1" ] || { printf '%s\n' "$2" >"secrets/$1"; echo "created secrets/$1"; }; }

make_file postgres_password "$(random 24)"
make_file database_url "postgres://platform:$(cat secrets/postgres_password)@postgres:5432/platform?sslmode=disable"
make_file redis_conf "requirepass $(random 24)"
make_file redis_url "redis://:$(cut -d' ' -f2 secrets/redis_conf)@redis:6379"
make_file sealing_keys "$(head -c 32 /dev/urandom | base64)"
if [ "${1:-}" = --demo ]; then
	make_file component_appid wxc0c0c0c0c0c0c001
	make_file component_secret "$(random 16)"
	make_file component_token "$(random 12)"
	make_file component_aes_key "$(random 21)a"
fi
# The containers run as user 65532 and read the files through mounts that root makes. Others cannot
# enter the directory.
chmod 700 secrets && chmod 644 secrets/*
if [ "${1:-}" != --demo ] && [ "$(cat secrets/component_appid 2>/dev/null)" = wxc0c0c0c0c0c0c001 ]; then
	echo "secrets/component_* are for the simulator, created by $0 --demo. Replace them with WeChat's, and give the platform a new database: a database belongs to one component." >&2
	exit 1
fi
missing=
for name in component_appid component_secret component_token component_aes_key; do
	[ -s "secrets/$name" ] || missing="$missing secrets/$name"
done
if [ -n "$missing" ]; then
	echo "missing or empty:$missing. Copy them from WeChat's console, and run $0 again (or run $0 --demo for the simulator)." >&2
	echo "缺少或为空：${missing# }。请从微信开放平台复制，然后重新运行 $0（或运行 $0 --demo，使用模拟器）。" >&2
	exit 1
fi
