#!/usr/bin/env bash
# Runs the SDK suite: installs the npm packages of node/package-lock.json, checks the Go module, and
# starts bench/sdk/main.go. A missing node or npm is installed (with apt, as root) or named. ONLY is a
# regular expression for the names of SDKs.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing ${missing[*]}" >&2
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	else
		echo "missing: ${missing[*]}. Install them (Node.js 18 or newer)." >&2
		exit 1
	fi
fi
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 18 ] || { echo "node is version $major: the packages need 18 or newer" >&2; exit 1; }

(cd node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
go vet ./...
exec go run . -only "${ONLY:-}" -json ../../out/sdk.json
