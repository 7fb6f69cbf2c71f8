"""`docker compose` for an engine that lacks it, once a user: from Debian's package, else built with Go."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from headrace.errors import ConfigError
from headrace.stack.download import cache_dir

# Debian 13's package: one binary, which runs on Debian 12 and Ubuntu 22.04 too.
POOL = "http://deb.debian.org/debian/pool/main/d/docker-compose/docker-compose_2.26.1-4_{}.deb"
PACKAGES = {
    "x86_64": ("amd64", "47681197cb2b1ab88206b42a1a92fc75f50d9530a6322d03494a473eed0408ea"),
    "aarch64": ("arm64", "bbafaa666f3e7fa00ad36f2a8bab889f1c791ca8743d674e7267a3d07203869c"),
}
PACKED = Path("usr/libexec/docker/cli-plugins/docker-compose")
SOURCE = Path(__file__).with_name("go")
MODULE = "github.com/docker/compose/v2"
TWO_WAYS = "Install Docker's own (Debian, Ubuntu: docker-compose-v2 or docker-compose-plugin), or Go 1.25 or newer"


def config_folder() -> Path:
    """A folder for DOCKER_CONFIG whose cli-plugins hold docker-compose. ConfigError where it can't be had."""
    made_of = (SOURCE / "go.mod").read_bytes() + repr(PACKAGES).encode()
    folder = cache_dir() / "tools" / f"docker-compose-{hashlib.sha256(made_of).hexdigest()[:10]}"
    binary = folder / "cli-plugins" / "docker-compose"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not binary.is_file():
            fresh = binary.with_name("making")
            if not _unpack(fresh):
                _build(fresh)
            fresh.rename(binary)
    return folder


def _unpack(target: Path) -> bool:
    """Put the binary of Debian's package at `target`; False where that is not to be had."""
    name, digest = PACKAGES.get(os.uname().machine, ("", ""))
    if sys.platform != "linux" or not name or shutil.which("dpkg-deb") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="hrtest-compose-") as tmp:
        package = Path(tmp) / "package.deb"
        try:
            with urllib.request.urlopen(POOL.format(name), timeout=60) as answer:
                package.write_bytes(answer.read())
        except OSError:  # the pool drops versions that no release has any more
            return False
        if hashlib.sha256(package.read_bytes()).hexdigest() != digest:
            return False
        subprocess.run(["dpkg-deb", "--extract", str(package), tmp], check=True)
        shutil.move(Path(tmp) / PACKED, target)
    return subprocess.run([str(target), "version"], capture_output=True, check=False).returncode == 0


def _build(target: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise ConfigError(f"`docker compose` is not there, nor Go to build it. {TWO_WAYS}")
    words = (SOURCE / "go.mod").read_text(encoding="utf-8").split()
    version = words[words.index(MODULE) + 1]
    print(f"building docker compose {version} with Go: a few minutes, once", file=sys.stderr, flush=True)
    argv = [go, "build", "-trimpath", "-ldflags", f"-s -w -X {MODULE}/internal.Version={version}", "-o", str(target)]
    done = subprocess.run(
        [*argv, f"{MODULE}/cmd"], cwd=SOURCE, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ConfigError(f"`docker compose` can't be built with {go}:\n{done.stderr[-2000:]}\n{TWO_WAYS}")


def _environment() -> Mapping[str, str]:
    return {"GOFLAGS": "-p=2", **os.environ, "CGO_ENABLED": "0"}
