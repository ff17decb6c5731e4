#!/bin/sh
# Random weights in the shapes of real models, for `./dev bench`: written to $SNUG_CACHE/models (4 GB). Does nothing
# for those that are there. Needs build/tools/mkmodel and the shapes in $SNUG_ZOO (default tests/data/zoo).
set -eu
cd "$(dirname "$0")/.."
out=${SNUG_CACHE:-$HOME/.cache/snug}/models
zoo=${SNUG_ZOO:-tests/data/zoo}
mkdir -p "$out"
for name in qwen2.5-0.5b gemma3-1b; do
    [ -f "$out/$name-shape.gguf" ] || build/tools/mkmodel --shape "$zoo/$name.json" --random "$out/$name-shape.gguf"
done
# Two layers of gpt-oss-20b, with the keys that llama.cpp reads.
[ -f "$out/gpt-oss-20b-2l-shape.gguf" ] || build/tools/mkmodel --arch gpt-oss --type MXFP4 --layers 2 --embd 2880 --heads 64 \
    --kv-heads 8 --head-dim 64 --ffn 2880 --experts 32 --experts-used 4 --vocab 201088 --window 128 --ctx 4096 --random \
    "$out/gpt-oss-20b-2l-shape.gguf"
