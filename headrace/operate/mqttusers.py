"""Writes Mosquitto's file of users: `python -m headrace.operate.mqttusers FILE USER=PASSWORD_FILE...`.

For a container that runs before Mosquitto's: the broker wants hashed passwords, and Secrets hold plain ones.
"""

import base64
import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

from headrace import textfile
from headrace.errors import ConfigError

ITERATIONS = 101  # mosquitto_passwd's own default; the passwords are random, not guessable
_LONGEST = 4096  # bytes of a password


def password_hash(password: str) -> str:
    """What Mosquitto keeps of a password, in the form 2.0 and 2.1 both read: PBKDF2 over SHA-512, with a salt."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def is_password(password: str, verifier: str) -> bool:
    """Whether the password is the one of which this is kept, as `password_hash` gives it."""
    _, _, rounds, salt, digest = verifier.split("$")
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(rounds))
    return hmac.compare_digest(made, base64.b64decode(digest))


def password_line(user: str, password: str) -> str:
    """A line of a password file."""
    return f"{user}:{password_hash(password)}\n"


def users(wanted: list[str]) -> str:
    """The text of the file, a line for each `USER=PASSWORD_FILE`. ConfigError for other forms and unreadable files."""
    lines = []
    for one in wanted:
        user, found, path = one.partition("=")
        if not found or not user or ":" in user:
            raise ConfigError(f"{one}: write it as USER=PASSWORD_FILE; the user's name can't have a colon")
        password = textfile.read(Path(path), "a password", _LONGEST).strip()
        if not password:
            raise ConfigError(f"{path}: empty. Put the password of {user} into it")
        lines.append(password_line(user, password))
    return "".join(lines)


def main(arguments: list[str]) -> int:
    """Write the file, readable by its owner only. Returns the exit code."""
    if len(arguments) < 2:
        sys.stderr.write("usage: python -m headrace.operate.mqttusers FILE USER=PASSWORD_FILE...\n")
        return 2
    try:
        text = users(arguments[1:])
    except ConfigError as e:
        sys.stderr.write(f"mqttusers: {e}\n")
        return 2
    target = Path(arguments[0])
    target.unlink(missing_ok=True)  # a container that starts again finds the file of its first start
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
