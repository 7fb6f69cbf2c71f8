"""The devices' files of Mosquitto, made from hub's answer: whole, or not at all.

A half or wrong file would shut devices out, or let in a name that the broker takes for another user's. What is said of
certificates is looked at in brokercerts.py.
"""

import base64
import binascii
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import TransientError
from headrace.protocol.names import is_identity

# In the folder that the agent keeps
PASSWORDS, PSKS, ACCESS, PID = "devices.passwords", "devices.psks", "devices.acl", "mosquitto.pid"
MODE = 0o600
_HASH = re.compile(r"\$7\$([1-9][0-9]{0,6})\$([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]+={0,2})")
_KEY = re.compile(r"[0-9a-f]{32,128}")
_SALT_BYTES, _DIGEST_BYTES = range(8, 65), 64


class Passwords(NamedTuple):
    """A version, and the text of the file with a line for each identity but those `left_out`."""

    version: int
    text: str
    left_out: tuple[str, ...]


class Answer(NamedTuple):
    """All that hub gives: passwords, the text of the file of keys (PSK), and who is a gateway.

    `certificates`: as they were given.
    """

    passwords: Passwords
    psks: str
    gateways: tuple[str, ...]
    certificates: object

    @property
    def version(self) -> int:
        """Of all of it."""
        return self.passwords.version


def passwords(answer: object, reserved: str = "") -> Passwords:
    """What hub's answer says of passwords. TransientError, with the reason, for anything that is not a whole answer.

    `reserved`: the first level of the topics of receipts. Who had that name could publish there where a route begins
    with the identity, so it gets no line.
    """
    version = _version(answer)
    found = _lines(answer, "passwords", _is_hash, "the password of {} is not in Mosquitto's form")
    left_out = (reserved,) if found.pop(reserved, None) else ()
    return Passwords(version, "".join(found.values()), left_out)


def parse(answer: object, reserved: str = "") -> Answer:
    """The same, and all else that hub's answer asks for."""
    first = passwords(answer, reserved)
    assert isinstance(answer, dict)
    psks = _lines(answer, "psks", _is_key, "the key of {} is not of 16 to 64 bytes in hexadecimal digits")
    psks.pop(reserved, None)
    if "certificates" not in answer:
        raise wrong("it says nothing of certificates")
    return Answer(first, "".join(psks.values()), gateways(answer), answer["certificates"])


def gateways(answer: object) -> tuple[str, ...]:
    """Who is a gateway, by hub's answer. TransientError where it does not say."""
    found = answer.get("gateways") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(g, str) and is_identity(g) for g in found):
        raise wrong("it has no list of gateways, or one that can't name a gateway")
    return tuple(found)


def names_in(text: str) -> dict[str, str]:
    """What a file of passwords or keys has, by name."""
    return {name: rest for name, _, rest in (line.partition(":") for line in text.splitlines()) if rest}


def text_of(path: Path) -> str:
    """The text of a file; empty when there is none, or another's."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def replace(path: Path, text: str) -> bool:
    """Put `text` in the place of a file, as a whole, also through a crash. False when it is there already."""
    try:
        if path.read_bytes() == text.encode():
            return False
    except OSError:
        pass
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return True


def _version(answer: object) -> int:
    if not isinstance(answer, dict):
        raise wrong("it is no object")
    version = answer.get("version")
    if type(version) is not int or version < 0:
        raise wrong("it has no version")
    return version


def _lines(answer: Any, kind: str, fits: Callable[[str], bool], fault: str) -> dict[str, str]:
    """A line of Mosquitto's file by identity, in their order."""
    given = answer.get(kind)
    if not isinstance(given, dict):
        raise wrong(f"it has no {kind}")
    for identity, text in given.items():
        if not is_identity(identity):
            raise wrong(f"{identity[:80]!r} can't name a device")
        if not isinstance(text, str) or not fits(text):
            raise wrong(fault.format(identity))
    return {identity: f"{identity}:{text}\n" for identity, text in sorted(given.items())}


def _is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None and len(text) % 2 == 0


def _is_hash(text: str) -> bool:
    found = _HASH.fullmatch(text)
    if found is None:
        return False
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in found.group(2, 3))
    except binascii.Error:
        return False
    return len(salt) in _SALT_BYTES and len(digest) == _DIGEST_BYTES


def wrong(why: str) -> TransientError:
    """Why an answer changes nothing."""
    return TransientError(f"hub's answer is not taken: {why}")
