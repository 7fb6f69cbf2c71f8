"""THIRD_PARTY.md names all that the images and the local stack are made of."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.clause("CRA II 1")
def test_every_pinned_package_and_jar_has_its_row() -> None:
    argv = [sys.executable, "-m", "scripts.third_party", "--check"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_missing_is_named() -> None:
    code = "from scripts import third_party as t; print(t.absent(t.PAGE.read_text().replace('| numpy |', '| nump |')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['numpy 2.")


def test_the_servers_of_compose_and_chart_are_named() -> None:
    page = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for image in ("eclipse-mosquitto", "apache/kafka", "apicurio/apicurio-registry", "chrislusf/seaweedfs"):
        assert f"| `{image}` |" in page


def test_the_files_from_npm_are_of_the_version_that_is_told_and_their_licences_lie_beside_them() -> None:
    code = "from scripts.images import *; print(*(f'{v.name} {v.version} {v.file}' for v in VENDORED), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    folder = ROOT / "hub" / "console" / "static"
    told = [line.split() for line in done.stdout.splitlines()]
    for name, version, file in told:
        assert version in (folder / file).read_text(encoding="utf-8"), file
        assert (folder / f"{name}.LICENSE").is_file()
    scripts = {p.name for p in folder.glob("*.min.js")}
    assert scripts == {file for _, _, file in told}
