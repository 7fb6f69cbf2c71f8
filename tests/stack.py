"""A stack as a user starts it: real Mosquitto, Kafka, registry and S3 server, and the services."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from headrace.config import Config, load

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stack:
    """A running stack, and the command line that talks to it."""

    state: Path

    def run(self, *args: str, ok: bool = True, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        """`headrace --state STATE args...`; fails the test with what was printed unless it exits 0, or ok=False."""
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "--state", str(self.state), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "160", **env},
        )
        if ok and done.returncode != 0:
            pytest.fail(f"headrace {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args: str, ok: bool = True, timeout: float = 120) -> Any:
        """What a command prints as JSON."""
        return orjson.loads(self.run(*args, ok=ok, timeout=timeout).stdout)

    def config(self) -> Config:
        """The configuration that the stack wrote for its services."""
        return load(self.state / "headrace.yaml", {})

    def config_file(self, path: Path, over: dict[str, Any]) -> Path:
        """A configuration of one's own on this stack's servers, such as other streams and groups, as a file."""
        data = yaml.safe_load((self.state / "headrace.yaml").read_text())
        path.write_text(yaml.safe_dump({**data, **over}))
        return path
