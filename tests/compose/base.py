"""The stand-in for python:3.11-slim-bookworm, under every other stand-in: Debian by debootstrap, made once a user."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from headrace.errors import ConfigError
from headrace.stack import apt
from headrace.stack.download import cache_dir

RELEASE = "bookworm"
# What Docker's slim image has beyond minbase, and Debian's Python with its pip.
PACKAGES = ("ca-certificates", "netbase", "python3", "python3-pip", "python3-venv", "tzdata")
BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")
LINKS = {"python": "/usr/bin/python3", "python3": "/usr/bin/python3", "python3.11": "/usr/bin/python3.11"}
# Not pip's time-out: behind the engine's network a connection may fall silent, and pip's own 15 s are soon over.
PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


def tarball() -> Path:
    """The root file system, from the cache or made now. ConfigError where it can't be made."""
    bundle = _host_bundle()
    made_of = [RELEASE, *PACKAGES, *LINKS, Path(__file__).read_text(encoding="utf-8")]
    digest = hashlib.sha256("\n".join(made_of).encode() + bundle).hexdigest()[:10]
    folder = cache_dir() / "standins"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        target = folder / f"base-{digest}.tar"
        if not target.is_file():
            _make(target, bundle)
    return target


def environment() -> Mapping[str, str]:
    """Variables of the image: where pip and TLS find what this machine trusts, and its package index."""
    given = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {"PIP_CERT": f"/{BUNDLE}", "SSL_CERT_FILE": f"/{BUNDLE}", "PIP_ROOT_USER_ACTION": "ignore", **given}


def _host_bundle() -> bytes:
    """What this machine trusts. A proxy's certificate may be known only here."""
    path = Path(os.environ.get("SSL_CERT_FILE") or Path("/") / BUNDLE)
    return path.read_bytes() if path.is_file() else b""


def _make(target: Path, bundle: bytes) -> None:
    print("making the stand-in for python:3.11-slim-bookworm with debootstrap, once", file=sys.stderr, flush=True)
    if shutil.which("debootstrap") is None and shutil.which("debootstrap", path="/usr/sbin") is None:
        apt.install(("debootstrap", "debian-archive-keyring"))
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with tempfile.TemporaryDirectory(prefix="hrtest-base-", ignore_cleanup_errors=True) as tmp:
        root = Path(tmp) / "root"
        argv = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, str(root)]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ConfigError(f"debootstrap fails: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        _adapt(root, bundle)
        partial = target.with_suffix(".partial")
        subprocess.run(["tar", "--numeric-owner", "-C", str(root), "-cf", str(partial), "."], check=True)
        partial.rename(target)


def _adapt(root: Path, bundle: bytes) -> None:
    """As the real image is: `python` on the PATH, pip that installs, no caches, no compiled standard library."""
    for name, to in LINKS.items():
        (root / "usr/local/bin" / name).symlink_to(to)
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    if bundle:
        (root / BUNDLE).write_bytes(bundle)
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    (root / "var/cache/apt/archives/partial").mkdir()
    for cached in root.glob("usr/lib/python3*/**/__pycache__"):
        shutil.rmtree(cached)
