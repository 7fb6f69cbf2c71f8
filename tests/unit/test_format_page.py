"""The page of payload formats: its examples are configurations, and it has a section for each format."""

import re
from pathlib import Path
from typing import get_args

import yaml

from headrace.config import Config
from headrace.config.route import Format
from headrace.config.routes import filter_problems, identity_problems

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_every_example_of_a_route_is_a_configuration() -> None:
    blocks = [b for b in re.findall(r"\n\n((?:    .*\n)+)", PAGE) if b.startswith("    streams:")]
    assert len(blocks) >= len(get_args(Format)) - 3
    for block in blocks:
        config = Config.model_validate(yaml.safe_load(block))
        assert [*filter_problems(config), *identity_problems(config)] == [], block


def test_every_format_has_its_section() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert {name for title in titles for name in title.split(", ")} >= set(get_args(Format))
