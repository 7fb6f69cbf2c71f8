"""Commands that are imported only when they run or when their own help is asked for."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

# Wide enough for a help text, narrow enough for a terminal and for docs/cli.md.
SETTINGS: dict[str, Any] = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}

COMMANDS = {
    "up": "Start the local stack: broker, Kafka, registry, object store, services.",
    "down": "Stop the local stack; its data stays.",
    "status": "What runs, where, and how fast readings flow.",
    "logs": "The log of one service of the local stack.",
    "doctor": "What is missing on this machine or unsafe in this configuration.",
    "provision": "Create topics and bucket and register contracts, where they are missing.",
    "selftest": "Send one reading over MQTT and find its row in the lake.",
    "simulate": "A fleet of devices over MQTT: motion, a bearing, a room's climate.",
    "replay": "Recorded readings (CSV) over MQTT, as if from devices.",
    "tail": "Live readings of a stream.",
    "query": "SQL over the lake: every stream is a table.",
    "verify": "The loss ledger: stored, gaps, duplicates, dead letters.",
    "dlq": "Dead letters: what could not become a reading, and why.",
    "contracts": "Data contracts: make, check, compare, register.",
    "config": "Check a configuration; print its schema.",
    "archive": "The lake's own housekeeping.",
}


class LazyGroup(TyperGroup):
    """Lists its commands without importing them, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As click: the name, the command and the arguments that remain; the command is the real one."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load(name), rest


def placeholders(app: typer.Typer) -> None:
    """Register every command by name and line of help alone."""
    for name, line in COMMANDS.items():
        app.command(name, help=line)(_nothing)


def load(name: str) -> Any:
    """The command `name`: that function of the module `headrace.cli.<name>`, or the group that is its `app`."""
    module = import_module(f"headrace.cli.{name}")
    app = getattr(module, "app", None)
    command: Any
    if isinstance(app, typer.Typer):
        app.rich_markup_mode = None
        app.info.no_args_is_help = True
        command = get_group(app)
        command.help = command.help or COMMANDS[name]
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(getattr(module, name))
        command = get_command(single)
    command.name = name
    return command


def _nothing() -> None:
    """Stands for a command in the list of commands."""
