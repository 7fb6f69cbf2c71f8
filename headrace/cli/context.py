"""Which stack and which configuration a command uses, from the global options."""

from dataclasses import dataclass
from pathlib import Path

from headrace.config import Config
from headrace.config.find import find, state_folder


@dataclass
class _Options:
    state: Path | None = None
    config: Path | None = None


_options = _Options()


def set_options(state: Path | None, config: Path | None) -> None:
    """Keep the global options --state and --config for the command that follows."""
    _options.state, _options.config = state, config


def state() -> Path:
    """The state folder: --state, HEADRACE_STATE, else the user's own. It need not exist."""
    return state_folder(_options.state)


def config_file() -> Path | None:
    """The file given with --config or HEADRACE_CONFIG, if any."""
    return _options.config


def config() -> Config:
    """The configuration: the file given, else that of the running or stopped stack in the state folder.

    Raises ConfigError when there is neither, or it is wrong.
    """
    return find(_options.config, _options.state)


def config_path() -> Path:
    """The file that `config` reads, for a service that must read the same file."""
    from headrace.stack.state import State

    return _options.config or State(state()).config_file
