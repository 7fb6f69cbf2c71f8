"""Letters written to files for a person to mend, and the mended ones read back.

A payload that the bridge refused is written as it came. What cleaning or the archive refused is Avro: it is written as
the reading that it is, with times in ISO 8601 and bytes in base64, as a device would send it in JSON.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from headrace.deadletters.choosing import time_text
from headrace.deadletters.reading import ReadLetter
from headrace.errors import ConfigError
from headrace.protocol.names import QUALITY

_OWN = ("stream", "reason", "stage", "device", "field", "rule", "value", "detail")
_LEFT_OUT = {*_OWN, "source", "pointer", "size"}
_FILE = re.compile(r"([0-9a-f]{32})\.(payload|reading)")
INDEX = "letters.jsonl"


class Mended(NamedTuple):
    """What is to be sent in a letter's place: a payload, or, where `is_reading`, a reading as a JSON object."""

    value: bytes
    is_reading: bool


def about(it: ReadLetter, state: str) -> dict[str, Any]:
    """Everything of a letter but its bytes, for JSON."""
    headers = {n: _text(v) for n, v in it.headers.items() if n not in _LEFT_OUT}
    topic = it.text("mqtt-topic") or it.source.get("mqtt_topic")
    own = {n: it.text(n) for n in _OWN}
    more = {"mqtt_topic": topic, "time": time_text(it.time_ms), "source": it.source, "headers": headers}
    return {"key": it.key.hex(), "state": state, **own, **more}


def body(value: bytes, reading: Mapping[str, Any] | None) -> dict[str, Any]:
    """The bytes of a letter for JSON: the reading in them, or the payload as text or, if it is none, in base64."""
    if reading is not None:
        return {"reading": {name: v for name, v in reading.items() if name != QUALITY}}
    try:
        return {"payload": value.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(value).decode()}


def to_json(found: Mapping[str, Any]) -> bytes:
    """A line of JSON."""
    return orjson.dumps(found, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE, default=_plain)


def write_files(folder: Path, it: ReadLetter, value: bytes, reading: Mapping[str, Any] | None) -> None:
    """Write a letter's bytes alone to KEY.payload, or the reading to KEY.reading as JSON."""
    if reading is None:
        (folder / f"{it.key.hex()}.payload").write_bytes(value)
    else:
        (folder / f"{it.key.hex()}.reading").write_bytes(to_json(body(value, reading)["reading"]))


def read_back(path: Path) -> dict[bytes, Mended]:
    """What was written, perhaps mended, by the letters' keys: the lines of a file, or the files of a folder.

    ConfigError, with the place, for what was not written so, and where a letter is there twice.
    """
    out: dict[bytes, Mended] = {}
    for place, key, mended in _files(path) if path.is_dir() else _lines(path):
        if key in out:
            raise ConfigError(f"{place}: the letter {key.hex()} is there twice")
        out[key] = mended
    if not out:
        raise ConfigError(f"{path}: no letter in it, as `headrace dlq export` writes them")
    return out


def _files(folder: Path) -> Iterator[tuple[str, bytes, Mended]]:
    for file in sorted(folder.iterdir()):
        if found := _FILE.fullmatch(file.name):
            value, is_reading = file.read_bytes(), found[2] == "reading"
            yield str(file), bytes.fromhex(found[1]), Mended(value.strip() if is_reading else value, is_reading)


def _lines(file: Path) -> Iterator[tuple[str, bytes, Mended]]:
    try:
        lines: Iterable[bytes] = file.read_bytes().splitlines()
    except OSError as e:
        raise ConfigError(f"{file}: can't be read: {e.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            found = orjson.loads(line)
            key = bytes.fromhex(found["key"])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{place}: not a JSON object with `key`, as `headrace dlq export` writes it") from None
        yield place, key, _mended(place, found)


def _mended(place: str, found: Mapping[str, Any]) -> Mended:
    match found:
        case {"reading": dict() as reading}:
            return Mended(orjson.dumps(reading), is_reading=True)
        case {"payload": str() as text}:
            return Mended(text.encode(), is_reading=False)
        case {"payload_base64": str() as text}:
            try:
                return Mended(base64.b64decode(text, validate=True), is_reading=False)
            except (binascii.Error, ValueError):
                raise ConfigError(f"{place}: payload_base64 is no base64") from None
        case _:
            raise ConfigError(f"{place}: neither payload (text), payload_base64 nor reading (an object) is there")


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def _plain(value: Any) -> str:
    """What JSON has no form of, as a decoder of ours takes it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)
