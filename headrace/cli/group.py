"""Commands that are imported only when they run or when their own help is asked for."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

# Wide enough for the help texts, narrow enough for terminals and docs/cli.md.
SETTINGS: dict[str, Any] = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}

COMMANDS = {
    "up": "Start the local stack: servers and services.",
    "restart": "Start its services again, with contracts and streams as they are now.",
    "down": "Stop the local stack; its data stays.",
    "status": "Show what runs, where, and how fast readings flow.",
    "logs": "Show the log of one service of the local stack.",
    "doctor": "Check this machine, the configuration and its servers.",
    "provision": "Create topics and bucket, register contracts.",
    "selftest": "Send one reading over MQTT and find its row in the lake.",
    "simulate": "Simulate a fleet of devices over MQTT.",
    "upload": "Upload files of readings: each row is stored once, or it is said why not.",
    "watch": "Upload each file that appears in a folder.",
    "uploads": "List what was uploaded; show, retire or replace it.",
    "profiles": "Try how files of readings become rows of a stream.",
    "replay": "Send recorded readings (CSV) as if from devices.",
    "tail": "Show the readings of a stream as they come.",
    "query": "Run SQL over the lake: every stream is a table.",
    "resample": "Show a stream's readings on a regular grid of time, gaps filled.",
    "quality": "Show what each rule did with the readings, by device and day.",
    "verify": "Check that every reading is in the lake exactly once.",
    "devices": "Add devices and gateways, list them, shut them out.",
    "audit": "Show who did what with devices and tokens; check that the log is whole.",
    "dlq": "List dead letters, show, mend, drop and keep them, send them again.",
    "contracts": "Make, check, compare and register data contracts.",
    "transform": "Try a function of yours, or a calibration, on the rows of a stream.",
    "config": "Check a configuration; print its schema.",
    "archive": "Maintain the archive's positions, and what it has stored.",
    "lake": "Compact the lake's files; list those that count.",
    "certs": "List and renew the certificates of the stack's servers.",
}


class LazyGroup(TyperGroup):
    """Lists its commands without importing them; imports a command when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As click: the name, the command and the remaining arguments, with the real command."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load(name), rest


def placeholders(app: typer.Typer) -> None:
    """Register every command by its name and its line of help."""
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
    """Stand for a command in the list of commands."""
