"""Where the configuration is: in the file that was named, else in the state folder of the local stack."""

import os
from pathlib import Path

from headrace.config.load import load
from headrace.config.model import Config
from headrace.errors import ConfigError

FILE = "headrace.yaml"  # in the state folder: the configuration of the stack that runs there


def state_folder(given: Path | None = None) -> Path:
    """The folder of the local stack: `given`, else HEADRACE_STATE, else $XDG_STATE_HOME/headrace (~/.local/state)."""
    if given is not None:
        return given.expanduser().absolute()
    named = os.environ.get("HEADRACE_STATE")
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "headrace"


def config_file(given: Path | None = None) -> Path | None:
    """The configuration's file: `given`, else HEADRACE_CONFIG; None when neither is given."""
    named = os.environ.get("HEADRACE_CONFIG")
    return given or (Path(named) if named else None)


def find(config: Path | None = None, state: Path | None = None) -> Config:
    """The configuration in the file `config` (else HEADRACE_CONFIG), or that of the stack in the folder `state`.

    Raises ConfigError when there is neither.
    """
    path = config_file(config)
    if path is not None:
        return load(path)
    return stack_config(state_folder(state))


def stack_config(folder: Path) -> Config:
    """The configuration of the local stack in `folder`, with environment variables over it. ConfigError when there is
    no stack.
    """
    file = folder / FILE
    if not file.is_file():
        raise ConfigError(f"no stack in {folder}. Start one with `headrace up`, or name a configuration with --config")
    return load(file)
