"""What the built wheel carries, since `pip install headrace` and `headrace up` must work without a checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = out.glob("headrace-*.whl")
    with zipfile.ZipFile(wheel) as z:
        return set(z.namelist())


def test_the_wheel_carries_contracts_and_the_pins_of_kafka_and_the_registry(names: set[str]) -> None:
    assert {f"headrace/schemas/{n}.avsc" for n in ("imu", "environment", "vibration", "device_events")} <= names
    assert "headrace/stack/downloads.json" in names
    assert {"bridge/__main__.py", "processors/__main__.py", "hub/__main__.py", "headrace/cli/app.py"} <= names


def test_the_wheel_carries_the_console_with_its_templates_and_scripts(names: set[str]) -> None:
    folder = ROOT / "hub" / "console"
    files = {p.relative_to(ROOT).as_posix() for part in ("templates", "static") for p in (folder / part).iterdir()}
    assert len(files) > 10
    assert files <= names


def test_the_wheel_carries_nothing_else(names: set[str]) -> None:
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.startswith("headrace-")} == {"bridge", "processors", "hub", "headrace"}
    assert not [n for n in names if "tests/" in n or Path(n).name.startswith(("test_", "conftest"))]
    assert not [n for n in names if n.endswith((".pyc", ".lock"))]
