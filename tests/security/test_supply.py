"""CRA Annex I, part II: what the images are made of, and where to report a hole."""

import json
import re
import subprocess

import pytest

from scripts.images import IMAGES, packages
from tests.stack import ROOT

pytestmark = pytest.mark.clause("CRA II 1")


def test_a_bill_of_materials_names_all_that_an_image_holds(request: pytest.FixtureRequest) -> None:
    if not request.config.pluginmanager.hasplugin("tests.security.clauses"):
        pytest.skip("installs a tool of its own: make security-test")
    done = subprocess.run(["sh", "scripts/sbom.sh"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for image in IMAGES:
        told = json.loads((ROOT / "dist" / "sbom" / f"headrace-{image}.cdx.json").read_text())
        assert told["bomFormat"] == "CycloneDX"
        named = {c["name"].lower().replace("_", "-"): c["version"] for c in told["components"]}
        wanted = packages(image)
        assert len(wanted) > 4
        assert {name: named.get(name) for name in wanted} == wanted
        assert all(c.get("purl") for c in told["components"])


def test_there_is_a_place_to_report_a_hole_to_and_a_promise() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert re.search(r"^## Report a hole$", text, re.MULTILINE)
    assert re.search(r"within \d+ days", text)
    assert "SECURITY.md" in (ROOT / "README.md").read_text(encoding="utf-8")
