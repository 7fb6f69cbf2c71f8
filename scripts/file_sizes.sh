#!/bin/sh
# `make check`: a file past 400 lines wants splitting. What a command generated does not count.
set -eu
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard -- Makefile '*.py' '*.sh' '*.js' '*.css' '*.html' '*.md' '.ci/*' | sort -u |
    while read -r file; do
        [ ! -f "$file" ] || awk -v file="$file" '/^<!-- From here on generated/ { exit } END { if (NR > 400) print file ": " NR " lines, 400 at most" }' "$file"
    done | { ! grep .; }
