"""The folder of one stack: its configuration, secrets, logs, data, and what is running now."""

import fcntl
import json
import re
import shutil
from pathlib import Path
from typing import IO, Any

import yaml
from pydantic import BaseModel, SecretStr

from headrace import textfile
from headrace.config import Config
from headrace.config.find import FILE, stack_config
from headrace.errors import ConfigError

# All that a stack makes in its folder, and so all that a wipe removes.
OURS = (
    "certs",
    "conf",
    "data",
    "logs",
    "secrets",
    "tmp",
    FILE,
    "settings.json",
    "contracts.json",
    "stack.json",
    "lock",
)
# Kafka splits paths at commas, H2 at semicolons; backslashes and quotes mean something in properties files.
_BAD_PATH = re.compile(r"[,;\\\"'\n\r\x00#$%]")


class State:
    """A stack's folder, which need not exist. To read from it creates nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def config_file(self) -> Path:
        """The configuration that services and tools read; holds secrets, mode 0600."""
        return self.path / FILE

    @property
    def logs(self) -> Path:
        """A `<service>.log` for each service; `<service>.log.1` is the part before it."""
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
    def certs(self) -> Path:
        """The authority and the certificates of the servers, see stack/certs.py."""
        return self.path / "certs"

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
        return stack_config(self.path)

    def info(self) -> dict[str, Any]:
        """stack.json: state, services, pids, ports, addresses, as last written. ConfigError as above."""
        if not self.exists:
            raise ConfigError(f"no stack in {self.path}. Start one with `headrace up`")
        return self.read_json("stack.json")

    def log_file(self, service: str) -> Path:
        """Where a service's output goes."""
        return self.logs / f"{service}.log"

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty when it is absent or damaged."""
        try:
            data = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def secret(self, name: str) -> str:
        """One of the stack's secrets; empty when there is none, as before the first start."""
        return str(self.read_json("secrets/secrets.json").get(name, ""))

    def write_json(self, name: str, data: dict[str, Any]) -> None:
        """Replace a JSON file of the folder as a whole; mode 0600."""
        self.write(self.path / name, json.dumps(data, indent=1) + "\n")

    def write_config(self, config: Config) -> None:
        """Replace headrace.yaml, with its secrets in plain text."""
        head = (
            "# Written by `headrace up` at each start: changes are lost. Give your own with `headrace up --config`.\n"
        )
        self.write(self.config_file, head + yaml.safe_dump(plain(config), sort_keys=False))

    def write(self, path: Path, text: str) -> None:
        """Replace a file as a whole; mode 0600."""
        path.parent.mkdir(parents=True, exist_ok=True)
        textfile.fresh(path, text).replace(path)

    def create(self) -> None:
        """Make the folders, closed to other users. ConfigError when this fails."""
        if found := _BAD_PATH.search(str(self.path)):
            raise ConfigError(
                f"{self.path}: a state folder's path can't hold {found.group()!r}. Choose another with --state"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.exists and any(p.name not in OURS for p in self.path.iterdir()):
                raise ConfigError(f"{self.path}: has files that are not a stack's. Choose an empty folder with --state")
            self.path.chmod(0o700)
            for folder in (self.logs, self.data, self.conf, self.tmp, self.path / "secrets"):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as e:
            raise ConfigError(f"{e.filename or self.path}: {e.strerror}. Choose another folder with --state") from None

    def wipe(self) -> None:
        """Remove the stack's data, secrets, logs and settings, and nothing else. The caller makes sure that nothing
        runs.
        """
        for name in OURS:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def lock(self) -> "StackLock | None":
        """The right to run this stack; None when another process has it."""
        file = (self.path / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return StackLock(file)

    @property
    def locked(self) -> bool:
        """Whether a supervisor is running this stack."""
        if not (self.path / "lock").is_file():
            return False
        lock = self.lock()
        if lock is None:
            return True
        lock.close()
        return False


class StackLock:
    """The right to run a stack. It ends when the last process that has the descriptor open ends or closes it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def fileno(self) -> int:
        """The descriptor, to pass on to another process."""
        return self._file.fileno()

    def close(self) -> None:
        """Give the right up, or leave it to a process that inherited the descriptor."""
        self._file.close()


def plain(model: BaseModel) -> dict[str, Any]:
    """The settings of a configuration that differ from the defaults, as YAML takes them, with secrets in plain text."""
    out: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if value == info.get_default() or name.removesuffix("_file") in out:
            continue
        out[info.alias or name] = _plain(value)
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
