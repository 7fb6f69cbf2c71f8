"""Pages name what is there: docs/architecture.md every file and room, in their order; links lead somewhere."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:py|yml|md|toml)|Dockerfile)`", PAGE)))
_FOLDERS = ("bridge", "processors", "docs", "helm", "compose", "tests")
PAGES = sorted(
    p.relative_to(ROOT) for p in (*ROOT.glob("*.md"), *(p for d in _FOLDERS for p in (ROOT / d).glob("**/*.md")))
)


def test_the_page_names_files() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize("name", NAMED)
def test_every_file_that_the_page_names_is_there(name: str) -> None:
    path = ROOT / name
    assert path.is_dir() if name.endswith("/") else path.is_file()


def test_the_picture_has_the_rooms_of_headrace_in_the_order_that_is_enforced() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c.get("containers") == ["headrace"])
    picture = PAGE.split("headrace/  what the services share")[1].split("```")[0]
    drawn = [re.split(r" {2,}", line.strip())[0] for line in picture.splitlines()[1:] if line.strip()]
    assert drawn == layers


@pytest.mark.parametrize("package", ["bridge", "processors", "hub"])
def test_the_picture_has_every_folder_of_the_services_once(package: str) -> None:
    picture = PAGE.split("## The rooms")[1].split("headrace/  what")[0]
    folders = {f.parent.name for f in (ROOT / package).glob("*/__init__.py")}
    assert {f: picture.count(f"  {f}/ ") for f in folders} == dict.fromkeys(folders, 1)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_to_a_page_of_ours_leads_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []
