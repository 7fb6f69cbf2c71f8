"""Rewrites the generated part of docs/cli.md: `python -m headrace.cli.reference docs/cli.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

MARK = "<!-- From here on generated from the help: python -m headrace.cli.reference docs/cli.md -->\n"
_WIDTH = 100


def generated() -> str:
    """The help of `headrace` and of every command and subcommand, as Markdown."""
    from headrace.cli.app import app
    from headrace.cli.group import COMMANDS, load

    parts = [_section("headrace", get_command(app), 2)]
    for name in COMMANDS:
        parts += _sections(f"headrace {name}", load(name))
    return "\n".join(parts)


def updated(text: str) -> str:
    """`text` with what follows the mark generated anew."""
    return text.partition(MARK)[0] + MARK + "\n" + generated()


def _sections(path: str, command: Any) -> Iterator[str]:
    yield _section(path, command, 2 if path.count(" ") < 2 else 3)
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _sections(f"{path} {name}", inner)


def _section(path: str, command: Any, level: int) -> str:
    context = command.context_class(
        command, info_name=path, terminal_width=_WIDTH, max_content_width=_WIDTH, help_option_names=["-h", "--help"]
    )
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"{'#' * level} `{path}`\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(updated(file.read_text(encoding="utf-8")), encoding="utf-8")
