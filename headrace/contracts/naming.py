"""Names for columns, from keys that may be any text. Avro's names, and so those of the lake, are ASCII."""

import re
from collections.abc import Iterable, Sequence

from headrace.contracts import avro
from headrace.protocol import provenance

_LONGEST = 100


def snake(key: str) -> str:
    """`key` in small letters with underscores: "motorTempC" and "Motor Temp-C" give "motor_temp_c"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def field_name(key: str, taken: Sequence[str], keys: Iterable[str] = ()) -> str:
    """A legal field name for a JSON key: the key itself if it is legal and not `taken`, else the closest one.

    The closest one is also different from the payload's other `keys`. Other scripts are written in Latin letters.
    """
    reserved = {*provenance.RESERVED, *(t.lower() for t in taken)}
    if avro.is_name(key) and not key.startswith("_") and key.lower() not in reserved:
        return key
    reserved |= {k.lower() for k in keys}
    return _free(_plain(key), reserved)


def member_name(key: str, taken: Sequence[str], keys: Iterable[str] = ()) -> str:
    """The same for a key of an object inside the payload, where no name is kept for the lake's own columns."""
    if avro.is_name(key) and key.lower() not in {t.lower() for t in taken}:
        return key
    return field_name(key, taken, keys)


def _plain(key: str) -> str:
    from anyascii import anyascii

    latin = anyascii(key.replace("°", ""))
    if not re.search("[A-Za-z]", key):  # another script: its syllables come in capitals, "WenDu"
        latin = snake(latin)
    name = re.sub(r"[^A-Za-z0-9]+", "_", latin).strip("_")[:_LONGEST] or "field"
    return f"n_{name}" if name[0].isdigit() else name


def _free(name: str, reserved: set[str]) -> str:
    candidate, n = name, 2
    while candidate.lower() in reserved:
        candidate, n = f"{name}_{n}", n + 1
    return candidate
