"""A Docker engine for tests: the user's own where one answers, else a private one of which nothing is left.

with engine(tmp_path) as docker:
    docker.run("build", "--target", "bridge", "-t", "headrace/bridge:0.1.0", str(ROOT))
    docker.compose("up", "--wait", cwd=ROOT)
    subprocess.run(["some", "docker", "client"], env=docker.env)
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import ConfigError, FatalError
from tests.compose import plugin, private

# From here on clients build with BuildKit where they have the buildx plugin, and in the old way where not.
FROM_BUILDX = 23


@dataclass(frozen=True, slots=True)
class Docker:
    """A running engine, with `docker compose`."""

    client: str  # the command
    env: Mapping[str, str]  # a whole environment, for every client of this engine: DOCKER_HOST, DOCKER_CONFIG, ...
    private: bool  # whether it ends with the context, with all its containers, images and volumes

    def run(
        self,
        *args: str,
        ok: bool = True,
        timeout: float = 600,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """`docker args...`, `env` on top of the engine's. FatalError with the output unless exit 0 or ok=False."""
        done = subprocess.run(
            [self.client, *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=cwd,
            env={**self.env, **(env or {})},
            input=stdin,
        )
        if ok and done.returncode != 0:
            tail = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            raise FatalError(f"docker {' '.join(args)}: exit {done.returncode}\n{tail}")
        return done

    def compose(
        self,
        *args: str,
        cwd: Path,
        ok: bool = True,
        timeout: float = 600,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """`docker compose args...` in the folder `cwd`; else as run()."""
        return self.run("compose", *args, ok=ok, timeout=timeout, cwd=cwd, env=env, stdin=stdin)


@contextmanager
def engine(tmp: Path) -> Iterator[Docker]:
    """A Docker engine with `docker compose`, for as long as the context lasts. `tmp` is where a private one lives.

    ConfigError, saying what to install, where there is no engine and none can be had.
    """
    env = dict(os.environ)
    own = shutil.which("docker")
    if own is not None and _answers(own, env):
        yield Docker(own, _with_compose(own, env), private=False)
        return
    with private.daemon(tmp) as (client, host):
        env["DOCKER_HOST"] = host
        if _major(client) < FROM_BUILDX:
            env["DOCKER_BUILDKIT"] = "1"  # such a client would build in the old way unless told
        yield Docker(client, _with_compose(client, env), private=True)


def _major(client: str) -> int:
    told = subprocess.run([client, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+", told)
    return int(found[0]) if found is not None else FROM_BUILDX


def _answers(client: str, env: Mapping[str, str]) -> bool:
    try:
        return subprocess.run([client, "info"], env=env, capture_output=True, check=False, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _with_compose(client: str, env: dict[str, str]) -> Mapping[str, str]:
    found = subprocess.run([client, "compose", "version"], env=env, capture_output=True, check=False, timeout=60)
    if found.returncode == 0:
        return env
    if "DOCKER_CONFIG" in env:
        raise ConfigError(f"the Docker of DOCKER_CONFIG={env['DOCKER_CONFIG']} has no compose plugin: install it there")
    # The contexts are in the folder that is left: the address of the one in use comes along.
    inspect = [client, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    host = subprocess.run(inspect, env=env, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    return {**env, **({"DOCKER_HOST": host} if host else {}), "DOCKER_CONFIG": str(plugin.config_folder())}
