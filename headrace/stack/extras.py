"""Finds and installs packages that the stack needs and a plain `pip install headrace` does not bring."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from headrace.errors import ConfigError

EXTRAS = ("bridge", "processors", "hub", "query", "tools", "stack")
LOCK = Path(__file__).with_name("requirements.lock")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def missing(distribution: str = "headrace") -> list[str]:
    """Requirements of the extras that aren't installed, as pip takes them. Empty in a checkout that isn't installed."""
    try:
        required = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    out: dict[str, None] = {}
    for line in required:
        requirement, _, marker = line.partition(";")
        wanted = any(re.search(rf"""extra == ['"]{extra}['"]""", marker) for extra in EXTRAS)
        name = _NAME.match(requirement)
        if wanted and name and not _installed(name[0]):
            out[requirement.strip()] = None
    return list(out)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def pins(text: str) -> list[str]:
    """`name==version` of each entry of a lock file, without hashes, as pip takes constraints."""
    return [line.split(" \\")[0].strip() for line in text.splitlines() if _NAME.match(line) and "==" in line]


def ensure(say: Callable[[str], None]) -> None:
    """Install what is missing into this environment, wheels only, in the versions that were tested.

    ConfigError, with the command, when pip is absent, may not write here, or fails.
    """
    needed = missing()
    if not needed:
        return
    command = [sys.executable, "-m", "pip", "install", "--only-binary", ":all:"]
    by_hand = " ".join([*command[1:], *(f"'{r}'" for r in needed)])
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(f"packages are missing, and this environment has no pip. Install them: pip {by_hand[7:]}")
    names = ", ".join(match[0] for r in needed if (match := _NAME.match(r)))
    say(f"installing into {sys.prefix}, once, about 900 MB: {names}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as constraints:
        if LOCK.is_file():
            constraints.write("\n".join(pins(LOCK.read_text(encoding="utf-8"))))
            constraints.flush()
        done = subprocess.run([*command, "-q", "-c", constraints.name, *needed], stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise ConfigError(f"pip could not install them, see above. By hand: {sys.executable} {by_hand}")
    importlib.invalidate_caches()
