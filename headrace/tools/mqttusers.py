"""Mosquitto's file of users: `python -m headrace.tools.mqttusers FILE USER=PASSWORD_FILE...`.

For a container that starts before Mosquitto's: the broker wants passwords hashed, Secrets hold them as they are.
"""

import os
import sys
from pathlib import Path

from headrace import textfile
from headrace.errors import ConfigError
from headrace.stack.mosquitto import password_line

_LONGEST = 4096  # bytes of a password


def users(wanted: list[str]) -> str:
    """The file's text for `USER=PASSWORD_FILE` each. ConfigError for what is neither, or a file that can't be read."""
    lines = []
    for one in wanted:
        user, found, path = one.partition("=")
        if not found or not user or ":" in user:
            raise ConfigError(f"{one}: write USER=PASSWORD_FILE; a user's name holds no colon")
        password = textfile.read(Path(path), "a password", _LONGEST).strip()
        if not password:
            raise ConfigError(f"{path}: empty. Put the password of {user} into it")
        lines.append(password_line(user, password))
    return "".join(lines)


def main(arguments: list[str]) -> int:
    """Write the file, readable by its owner alone; returns the exit code."""
    if len(arguments) < 2:
        sys.stderr.write("usage: python -m headrace.tools.mqttusers FILE USER=PASSWORD_FILE...\n")
        return 2
    try:
        text = users(arguments[1:])
    except ConfigError as e:
        sys.stderr.write(f"mqttusers: {e}\n")
        return 2
    target = Path(arguments[0])
    target.unlink(missing_ok=True)  # a container that starts again finds the first one's
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
