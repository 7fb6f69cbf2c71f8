#!/bin/sh
# `make images`: the four images for this machine, labelled with the checkout's version, commit and origin.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || revision=$revision-modified
source=$(git remote get-url origin 2>/dev/null || echo unknown)
case $source in *@*) source=${source#*@} ;; esac # a password may stand before it

for image in bridge processors hub tools; do
    echo "building headrace/$image:$version" >&2
    docker build --target "$image" --tag "headrace/$image:$version" --build-arg "VERSION=$version" \
        --build-arg "REVISION=$revision" --build-arg "SOURCE=$source" "$@" .
done
