"""Writes the bill of materials of each image, CycloneDX JSON, from that of the whole environment.

Usage: sbom.py WHOLE FOLDER, run by `make sbom` in the environment of the tool that made the file WHOLE.
"""

import json
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts.images import IMAGES, VENDORED, packages


def main(whole: Path, folder: Path) -> int:
    """Returns the exit code."""
    told = json.loads(whole.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        text = json.dumps(part(told, image), indent=2, ensure_ascii=False) + "\n"
        problem = JsonStrictValidator(SchemaVersion.from_version(told["specVersion"])).validate_str(text)
        if problem is not None:
            print(f"{image}: not CycloneDX {told['specVersion']}: {problem}", file=sys.stderr)
            return 1
        target = folder / f"headrace-{image}.cdx.json"
        target.write_text(text, encoding="utf-8")
        print(target)
    return 0


def part(whole: dict[str, Any], image: str) -> dict[str, Any]:
    """The components of `image`, and what depends on what among them."""
    pins = packages(image)
    found = {c["name"].lower().replace("_", "-"): c for c in whole["components"]}
    wrong = [f"{n} {v}" for n, v in pins.items() if found.get(n, {}).get("version") != v]
    if wrong:
        raise SystemExit(f"{image}: .venv has not what the lock pins: {', '.join(wrong)}. Run make install")
    root = whole["metadata"]["component"]
    kept = {found[n]["bom-ref"] for n in pins} | {root["bom-ref"]}
    graph = [
        {**d, **({"dependsOn": [r for r in d["dependsOn"] if r in kept]} if "dependsOn" in d else {})}
        for d in whole.get("dependencies", [])
        if d["ref"] in kept
    ]
    about = {**root, "type": "container", "name": f"headrace-{image}"}
    return {
        **{k: v for k, v in whole.items() if k != "serialNumber"},
        "metadata": {**whole["metadata"], "component": about},
        "components": [*(found[n] for n in pins), *_vendored(image)],
        "dependencies": graph,
    }


def _vendored(image: str) -> list[dict[str, Any]]:
    out = []
    for it in VENDORED:
        purl = f"pkg:npm/{it.name.lower()}@{it.version}"
        licences = [{"license": {"id": it.licence}}]
        one = {"type": "library", "bom-ref": purl, "name": it.name, "version": it.version, "purl": purl}
        out += [{**one, "licenses": licences}] if it.image == image else []
    return out


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
