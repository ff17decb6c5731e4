#!/bin/sh
# Checks what docs/ARCHITECTURE.md promises about who knows whom in src/; silent when all holds.
#
#  1. A folder includes only from the columns to its left, never from another folder of its own:
#       base <- num tmpl chat img net <- gguf graph <- tok model dev store <- plan conv <- run <- serve <- cli
#  2. What it includes there is FOLDER/NAME.h; headers in deeper folders or named *_int.h are private.
#  3. Tensor names and comparisons of architectures stand in src/model alone.
#  4. The sizes that kernels declare are asked by src/plan alone.
set -eu
cd "${1:-$(dirname "$0")/..}"

{
    grep -rn '^ *# *include *"' src --include='*.[ch]' || true
    grep -rnE '"[^"]*(blk\.(%|[0-9])|token_embd|(attn|ffn|post|output)_[a-z_]+\.(weight|bias)|output_norm|output\.weight)' \
        src --include='*.[ch]' | grep -vE '^src/model/|^[^"]*//|_pages"' | sed 's/^/names:/' || true # k_pages: the cache, in no file
    grep -rnE '\barch(_name)?\b *[!=]= |str[n]?(case)?cmp\([^)]*\barch|str_(eq|is)\([^)]*\barch' \
        src --include='*.[ch]' | grep -vE '^src/model/|[!=]= NULL' | sed 's/^/arch:/' || true
    grep -rnE '(->|\.) *(scratch|packed)_bytes *\(' src --include='*.[ch]' | grep -v '^src/plan/' | sed 's/^/sizes:/' || true
} | awk '
    BEGIN {
        n = split("base|num tmpl chat img net|gguf graph|tok model dev store|plan conv|run|serve|cli", column, "|")
        for (i = 1; i <= n; i++) {
            m = split(column[i], folder, " ")
            for (j = 1; j <= m; j++)
                level[folder[j]] = i
        }
    }
    function bad(where, why) { print where ": " why; failed = 1 }
    /^names:/ { sub(/^names:/, ""); bad($0, "tensor names belong in src/model"); next }
    /^arch:/ { sub(/^arch:/, ""); bad($0, "architectures are compared in src/model alone"); next }
    /^sizes:/ { sub(/^sizes:/, ""); bad($0, "only src/plan asks a kernel for its sizes"); next }
    {
        split($0, part, ":")
        where = part[1] ":" part[2]
        split(part[1], path, "/")
        from = path[2]
        split($0, quoted, "\"")
        depth = split(quoted[2], inc, "/")
        to = inc[1]
        if (!(from in level))
            bad(where, "src/" from " has no place in the order of folders")
        else if (depth < 2 || !(to in level))
            bad(where, "\"" quoted[2] "\": includes name their folder, as FOLDER/NAME.h")
        else if (to == from)
            next
        else if (level[to] >= level[from])
            bad(where, from " may not know " to)
        else if (depth > 2 || quoted[2] ~ /_int\.h$/)
            bad(where, "\"" quoted[2] "\" is private to " to)
    }
    END { exit failed }'
