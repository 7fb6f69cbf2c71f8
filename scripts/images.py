"""What the images are made of: each image's packages as its lock pins them, for Linux and the base image's Python."""

import re
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker, default_environment

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("bridge", "processors", "hub", "tools")
STATIC = ROOT / "hub" / "console" / "static"


class Vendored(NamedTuple):
    """A file of an npm package in STATIC, as it is there; its licence lies beside it, `name`.LICENSE."""

    name: str
    version: str
    licence: str
    file: str
    image: str = "hub"


VENDORED = (
    Vendored("htmx.org", "2.0.11", "0BSD", "htmx.min.js"),
    Vendored("uplot", "1.6.32", "MIT", "uPlot.iife.min.js"),
)
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+) *(?:; *([^\\]+))?", re.MULTILINE)


def packages(image: str) -> dict[str, str]:
    """The version of each package in the image, by name."""
    text = (ROOT / "requirements" / f"{image}.lock").read_text(encoding="utf-8")
    here: dict[str, str | AbstractSet[str]] = {name: str(value) for name, value in default_environment().items()}
    where = {**here, **_target()}
    return {
        name: version for name, version, marker in _PIN.findall(text) if not marker or Marker(marker).evaluate(where)
    }


def everything() -> dict[str, list[str]]:
    """The images that have each package, which is written as its name, a space and its version."""
    out: dict[str, list[str]] = {}
    for image in IMAGES:
        for name, version in packages(image).items():
            out.setdefault(f"{name} {version}", []).append(image)
    return dict(sorted(out.items()))


def _target() -> dict[str, str]:
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)", docker, re.MULTILINE)
    if found is None:
        raise SystemExit("Dockerfile: no ARG PYTHON_IMAGE=python:X.Y...")
    return {
        "python_version": found[1],
        "python_full_version": f"{found[1]}.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
    }
