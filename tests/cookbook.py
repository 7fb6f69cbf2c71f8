"""docs/cookbook.md as a program reads it: of each recipe what is published, what a user does, and the rows."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from headrace.contracts import heard
from headrace.contracts.heard import Message

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cookbook.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"(?<!\\)\|")
_OWN = "# yours"  # at the end of a line that `contracts new` does not write


@dataclass(frozen=True)
class Recipe:
    """A section of the page. `command`: of headrace, its words; empty where the contract is a shipped one."""

    title: str
    sample: str
    hexadecimal: bool
    command: str
    stream: str
    settings: dict[str, Any]  # of the stream, as it runs
    written: dict[str, Any]  # without the lines that are the user's own
    columns: list[str]  # SQL expressions
    rows: list[list[Any]]
    messages: list[Message] = field(default_factory=list)


def recipes() -> list[Recipe]:
    """All of the page."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return [_recipe(section) for section in sections]


def _recipe(section: str) -> Recipe:
    blocks = dict(_BLOCK.findall(section))
    route = blocks["yaml"]
    own = "\n".join(line for line in route.splitlines() if not line.endswith(_OWN))
    ((stream, settings),) = yaml.safe_load(route).items()
    sample = blocks["text"]
    messages = heard.messages_of(sample.encode())
    hexadecimal = "hexadecimal" in section.partition("```")[0]
    if hexadecimal:
        messages = [Message(m.topic, bytes.fromhex(m.payload.decode())) for m in messages]
    columns, _, *rows = [_cells(line) for line in section.splitlines() if line.startswith("|")]
    return Recipe(
        title=section.partition("\n")[0],
        sample=sample,
        hexadecimal=hexadecimal,
        command=blocks.get("sh", "").strip(),
        stream=stream,
        settings=settings,
        written=yaml.safe_load(own)[stream] if blocks.get("sh") else {},
        columns=columns,
        rows=[[_value(cell) for cell in row] for row in rows],
        messages=messages,
    )


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]


def _value(cell: str) -> Any:
    """Numbers, null and lists are as in JSON; everything else is text."""
    try:
        return json.loads(cell) if not re.fullmatch(r"\d{10,}", cell) else cell
    except ValueError:
        return cell


def plain(value: Any) -> Any:
    """A value of a row as the page writes it: times as text, in UTC."""
    if not isinstance(value, datetime):
        return value
    moment = value.astimezone(UTC).isoformat(" ").removesuffix("+00:00")
    return (moment.rstrip("0") if "." in moment else moment) + "+00"
