"""What names the version that rows are made by: digests of the texts of a stream's transform and of its calibration.

`<transform>`, `<transform>+<calibration>`, `+<calibration>`, or nothing. Each text lies in the store by its own digest.
"""

from hashlib import sha256
from typing import NamedTuple

FOLDER = "_transforms"  # in the bucket: <digest>.py, <digest>.csv
SHOWN_DIGITS = 8  # of a digest in `_quality`, and for people
_DIGITS = 16


class Parts(NamedTuple):
    """The digests that a version is named by; empty for what it does not have."""

    transform: str = ""
    calibration: str = ""


def digest_of(text: str) -> str:
    """The first 16 hexadecimal digits of the text's SHA-256."""
    return sha256(text.encode()).hexdigest()[:_DIGITS]


def named(parts: Parts) -> str:
    """The name of a version; empty for none."""
    return f"{parts.transform}+{parts.calibration}" if parts.calibration else parts.transform


def parts_of(name: str) -> Parts:
    """The inverse of `named`."""
    transform, _, calibration = name.partition("+")
    return Parts(transform, calibration)


def shown(name: str) -> str:
    """The name for people: `3f2a9c01`, `3f2a9c01+9b01c2d4`."""
    return "+".join(digest[:SHOWN_DIGITS] for digest in name.split("+"))
