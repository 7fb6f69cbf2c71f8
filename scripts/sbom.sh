#!/bin/sh
# `make sbom`: a bill of materials of each image in dist/sbom/, and THIRD_PARTY.md.
set -eu
cd "$(dirname "$0")/.."

tool=${XDG_CACHE_HOME:-$HOME/.cache}/headrace/tools/cyclonedx-$(cksum < requirements/sbom.lock | cut -d' ' -f1)
if [ ! -x "$tool/bin/cyclonedx-py" ]; then
    rm -rf "$tool"
    .venv/bin/python -m venv "$tool"
    "$tool/bin/pip" install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/sbom.lock
fi
mkdir -p dist/sbom
whole=$(mktemp)
trap 'rm -f "$whole"' EXIT
"$tool/bin/cyclonedx-py" environment .venv/bin/python --pyproject pyproject.toml --of JSON -o "$whole"
PYTHONPATH=. "$tool/bin/python" scripts/sbom.py "$whole" dist/sbom
.venv/bin/python -m scripts.third_party
