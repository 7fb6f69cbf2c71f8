"""`docker compose` for an engine that lacks it: built with Go from its own module, once a user."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from headrace.errors import ConfigError
from headrace.stack.download import cache_dir

SOURCE = Path(__file__).with_name("go")
PACKAGE = "github.com/docker/compose/v2"
TWO_WAYS = "Install Docker's own (Debian, Ubuntu: docker-compose-v2 or docker-compose-plugin), or Go 1.25 or newer"


def config_folder() -> Path:
    """A folder for DOCKER_CONFIG whose cli-plugins hold docker-compose. ConfigError where it can't be built."""
    lock = (SOURCE / "go.mod").read_bytes()
    folder = cache_dir() / "tools" / f"docker-compose-{hashlib.sha256(lock).hexdigest()[:10]}"
    binary = folder / "cli-plugins" / "docker-compose"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not binary.is_file():
            _build(binary)
    return folder


def _build(binary: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise ConfigError(f"`docker compose` is not there, nor Go to build it. {TWO_WAYS}")
    words = (SOURCE / "go.mod").read_text(encoding="utf-8").split()
    version = words[words.index(PACKAGE) + 1]
    print(f"building docker compose {version} with Go: a few minutes, once", file=sys.stderr, flush=True)
    fresh = binary.with_name("building")
    argv = [go, "build", "-trimpath", "-ldflags", f"-s -w -X {PACKAGE}/internal.Version={version}", "-o", str(fresh)]
    done = subprocess.run(
        [*argv, f"{PACKAGE}/cmd"], cwd=SOURCE, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ConfigError(f"`docker compose` can't be built with {go}:\n{done.stderr[-2000:]}\n{TWO_WAYS}")
    fresh.rename(binary)


def _environment() -> Mapping[str, str]:
    return {"GOFLAGS": "-p=2", **os.environ, "CGO_ENABLED": "0"}
