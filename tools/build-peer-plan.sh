#!/bin/sh
# Builds gguf-parser-go's estimate as a program, the peer of `snug plan`: build-peer-plan.sh DEST writes
# DEST/peer-plan, unless it is there and newer than its source. Needs go, 1.22 or later. Called by `./dev bench --peer`.
set -eu
[ $# -eq 1 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
mkdir -p "$1"
dest=$(cd "$1" && pwd)/peer-plan
cd "$(dirname "$0")/peer_plan"
[ -z "$(find main.go go.mod go.sum -newer "$dest" 2>/dev/null || echo none)" ] && exit 0
command -v go >/dev/null || { echo "no go here: gguf-parser-go is not built, part plan of the bench has no peer" >&2; exit 0; }
echo "      building gguf-parser-go as $dest" >&2
go build -o "$dest" .
