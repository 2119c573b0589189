#!/usr/bin/env bash
# Tests everything in deploy/ and scripts/release.sh. It needs nginx, caddy and systemd-analyze, and a Go
# module proxy. make deploy calls it. ONLY is a regular expression for the names of tests.
set -euo pipefail
cd "$(dirname "$0")"
missing=()
command -v nginx >/dev/null || missing+=(nginx-light)
command -v caddy >/dev/null || missing+=(caddy)
command -v systemd-analyze >/dev/null || missing+=(systemd)
if [ ${#missing[@]} -gt 0 ]; then
	echo "missing: ${missing[*]}. Install them: apt-get install ${missing[*]}" >&2
	exit 1
fi
go vet ./...
exec go test -count=1 -timeout 90m -run "${ONLY:-}" ./...
