"""The folder that holds one stack: its configuration, secrets, logs, data, and what runs just now."""

import fcntl
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import yaml
from pydantic import BaseModel, SecretStr

from headrace.config import Config, load
from headrace.errors import ConfigError

# Everything that a stack makes in its folder, and so everything that a wipe removes.
OURS = ("conf", "data", "logs", "secrets", "tmp", "headrace.yaml", "settings.json", "stack.json", "lock")
# Kafka splits paths at commas, H2 at semicolons; backslashes and quotes mean something in properties files.
_BAD_PATH = re.compile(r"[,;\\\"'\n\r\x00#$%]")


class State:
    """A stack's folder, which need not exist. Reading never makes anything."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def config_file(self) -> Path:
        """The configuration that services and tools read; holds secrets, mode 0600."""
        return self.path / "headrace.yaml"

    @property
    def logs(self) -> Path:
        """One `<service>.log` each; `<service>.log.1` is what came before."""
        return self.path / "logs"

    @property
    def data(self) -> Path:
        """A folder for each server."""
        return self.path / "data"

    @property
    def conf(self) -> Path:
        """Configuration files of the servers, written anew at each start."""
        return self.path / "conf"

    @property
    def tmp(self) -> Path:
        """Scratch space of the servers."""
        return self.path / "tmp"

    @property
    def exists(self) -> bool:
        """Whether a stack was ever started here."""
        return self.config_file.is_file()

    def config(self) -> Config:
        """The stack's configuration, environment variables over it; ConfigError when there is no stack."""
        if not self.exists:
            raise ConfigError(f"no stack in {self.path}: start one with `headrace up`")
        return load(self.config_file)

    def info(self) -> dict[str, Any]:
        """stack.json: state, services, pids, ports, addresses, as last written. ConfigError as above."""
        if not self.exists:
            raise ConfigError(f"no stack in {self.path}: start one with `headrace up`")
        return self.read_json("stack.json")

    def log_file(self, service: str) -> Path:
        """Where a service's output goes."""
        return self.logs / f"{service}.log"

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty when it is absent or was damaged."""
        try:
            data = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def write_json(self, name: str, data: dict[str, Any]) -> None:
        """Replace a JSON file of the folder as a whole; mode 0600."""
        self.write(self.path / name, json.dumps(data, indent=1) + "\n")

    def write_config(self, config: Config) -> None:
        """Replace headrace.yaml, secrets in plain."""
        head = (
            "# Written by `headrace up` at each start: changes are lost. Give your own with `headrace up --config`.\n"
        )
        self.write(self.config_file, head + yaml.safe_dump(plain(config), sort_keys=False))

    def write(self, path: Path, text: str) -> None:
        """Replace a file as a whole; mode 0600."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        Path(name).replace(path)

    def create(self) -> None:
        """Make the folders, closed to other users; ConfigError when that can't be."""
        if found := _BAD_PATH.search(str(self.path)):
            raise ConfigError(
                f"{self.path}: a state folder's path can't hold {found.group()!r}. Choose another with --state"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.exists and any(p.name not in OURS for p in self.path.iterdir()):
                raise ConfigError(f"{self.path}: holds other things than a stack. Choose an empty folder with --state")
            self.path.chmod(0o700)
            for folder in (self.logs, self.data, self.conf, self.tmp, self.path / "secrets"):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as e:
            raise ConfigError(f"{e.filename or self.path}: {e.strerror}. Choose another folder with --state") from None

    def wipe(self) -> None:
        """Remove the stack's data, secrets, logs and settings, and nothing else. The caller sees that nothing runs."""
        for name in OURS:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def hold(self) -> "Hold | None":
        """The right to run this stack, or None when another process has it."""
        lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return Hold(lock)

    @property
    def held(self) -> bool:
        """Whether a supervisor runs this stack now."""
        if not (self.path / "lock").is_file():
            return False
        hold = self.hold()
        if hold is None:
            return True
        hold.close()
        return False


class Hold:
    """The right to run a stack. It ends with the last process that has the descriptor open, however that ends."""

    def __init__(self, lock: IO[str]) -> None:
        self._lock = lock

    def fileno(self) -> int:
        """The descriptor, to be passed on to the process that shall have it."""
        return self._lock.fileno()

    def close(self) -> None:
        """Give it up, or leave it to a process that inherited it."""
        self._lock.close()


def plain(model: BaseModel) -> dict[str, Any]:
    """A configuration's settings that differ from the defaults, as YAML takes them, secrets in plain."""
    out: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if value == type(model).model_fields[name].get_default() or name.removesuffix("_file") in out:
            continue
        out[name] = _plain(value)
    return out


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return plain(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
