#!/bin/sh
# Builds llama.cpp's llama-bench natively, as the peer to measure against: build-peer.sh DEST
# writes DEST/bin/llama-bench. Once; about 8 minutes on two cores. Called by `./dev bench --peer`.
set -eu
[ $# -eq 1 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
cache=$(dirname "$1")
mkdir -p "$1"
dest=$(cd "$1" && pwd)
"$cache/venv/bin/python" "$here/fetch.py" --cache "$cache" peer-source
echo "      building llama.cpp in $dest (about 8 minutes)" >&2
cmake -S "$dest/src" -B "$dest" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_OPENSSL=OFF >"$dest/configure.log" 2>&1 || { tail -n 20 "$dest/configure.log" >&2; exit 1; }
ninja -C "$dest" llama-bench >"$dest/build.log" 2>&1 || { tail -n 20 "$dest/build.log" >&2; exit 1; }
