#!/usr/bin/env bash
# Builds a release into out/release: the static program for each system, a bill of materials of each (CycloneDX)
# and SHA256SUMS. The same commit gives the same bytes, wherever the repository is: Go is the version that
# the Dockerfile names, and neither paths nor the time nor the caller's settings get in. make release calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

if [ -n "$(git status --porcelain)" ]; then
	git status --short >&2
	echo "there are changes that are not committed: a release is a commit" >&2
	exit 1
fi
GOTOOLCHAIN=go$(sed -n 's/^FROM golang:\([0-9.]*\)-.*/\1/p' Dockerfile)
export GOTOOLCHAIN GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0

# constant puts the commit's time in the place of the present, and removes the hashes of the tool itself.
time=$(TZ=UTC git show -s --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
constant() { sed -e "s/^\( *\"timestamp\": \)\".*\"/\1\"$time\"/" -e '/^        "hashes": \[/,/^        \],/d'; }

rm -rf out/release
mkdir -p out/release
for system in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do
	file=out/release/platform-${system/\//-}
	GOOS=${system%/*} GOARCH=${system#*/} go build -trimpath -buildvcs=true -ldflags=-s -o "$file" ./cmd/platform
	go run "$sbom" bin -json -std -noserial "$file" | constant >"$file.cdx.json"
done
(cd out/release && sha256sum -- * >SHA256SUMS)
go version -m out/release/platform-linux-amd64 | sed -n 's/^\tmod\twxplatform\t\([^\t]*\).*/out\/release: \1/p'
cat out/release/SHA256SUMS
