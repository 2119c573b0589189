#!/usr/bin/env bash
# Creates the missing files in ./secrets that docker-compose.yml reads. With --demo it also creates the
# component's four, which otherwise come from WeChat's console.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }
make_file() { [ -e "secrets/$1" ] || { printf '%s\n' "$2" >"secrets/$1"; echo "created secrets/$1"; }; }

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
for name in component_appid component_secret component_token component_aes_key; do
	[ -e "secrets/$name" ] || echo "missing: secrets/$name. Copy it from WeChat's console (or run $0 --demo)."
done
if [ "${1:-}" != --demo ] && [ "$(cat secrets/component_appid 2>/dev/null)" = wxc0c0c0c0c0c0c001 ]; then
	echo "secrets/component_* are for the simulator, created by $0 --demo. Replace them with WeChat's, and give the platform a new database: a database belongs to one component." >&2
	exit 1
fi
# The containers run as user 65532 and read the files through mounts that root makes. Others cannot
# enter the directory.
chmod 700 secrets && chmod 644 secrets/*
