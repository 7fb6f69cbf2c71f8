"""Debian packages, installed without starting their services."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import ConfigError

_POLICY = Path("/usr/sbin/policy-rc.d")  # asks whether a package may start its service: exit code 101 means no
_UNASKED = ("install", "-y", "-q", "--no-install-recommends", "-oDPkg::Lock::Timeout=300")


def available() -> bool:
    """Whether packages can be installed here: on Debian or Ubuntu, as root."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str], units: Sequence[str] = ()) -> None:
    """Install packages. Their services do not start now, nor do `units` at a later boot. ConfigError when it fails."""
    names = " ".join(packages)
    if not available():
        raise ConfigError(f"not installed: {names}. As root on Debian or Ubuntu: apt-get install {names}")
    deny = not _POLICY.exists()
    if deny:
        _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        _POLICY.chmod(0o755)
    try:
        if not _apt_get(*_UNASKED, *packages):
            _apt_get("update", "-q")  # which may fail for a source that does not matter
            if not _apt_get(*_UNASKED, *packages):
                raise ConfigError(f"apt-get install {names} failed, see above. Install it, then run the command again")
    finally:
        if deny:
            _POLICY.unlink(missing_ok=True)
    if Path("/run/systemd/system").is_dir():
        for unit in units:
            subprocess.run(["systemctl", "disable", "--quiet", unit], check=False)


def _apt_get(*args: str) -> bool:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(["apt-get", *args], env=env, stdout=sys.stderr, check=False).returncode == 0
