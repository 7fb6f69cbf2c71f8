"""The messages in the body of a request: each a topic and a payload, as an MQTT client would publish them."""

from typing import NamedTuple

import msgspec

from bridge.ingest.refusal import RefusedError
from headrace.protocol import mediatypes

MOST = 1000  # messages of one request
_LONGEST = 1024  # bytes of a topic
_JSON = "application/json"
# What curl and browsers say when nobody has told them: of a reading it says nothing.
_FORM = "application/x-www-form-urlencoded"
_LINES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}


class Message(NamedTuple):
    """The payload has the very bytes that came: by them a copy is known."""

    topic: str
    payload: bytes
    content_type: str = ""


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    payload: msgspec.Raw


_BODY = msgspec.json.Decoder(_Named | list[_Named])
_LINE = msgspec.json.Decoder(_Named)


class Body(NamedTuple):
    """What a request asks for. `several`: the answer is a list, however many there are."""

    messages: list[Message]
    several: bool


def read(topic: str, media: str, body: bytes) -> Body:
    """The messages of a request to /readings/TOPIC, or to /readings where `topic` is empty. `media`: Content-Type.

    With a topic the body is one payload, or one a line. Without, it is a message {"topic", "payload"}, an array of
    such, or one a line. Then payloads are JSON. RefusedError: 400 for another form, 413 for too many.
    """
    kind = mediatypes.essence(media)
    lines = kind in _LINES
    if topic:
        said = _JSON if lines else "" if kind == _FORM else media
        several, found = lines, [Message(topic, part, said) for part in (_lines(body) if lines else [body])]
    else:
        several, found = _named(body, lines=lines)
    if not found:
        raise RefusedError(400, "there is no message in it. Send at least one")
    if len(found) > MOST:
        raise RefusedError(413, f"{len(found):,} messages: at most {MOST:,} are taken at once. Send them in parts")
    return Body(found, several)


def is_topic(text: str) -> bool:
    """Whether a device may publish to a topic of this form."""
    short = 0 < len(text.encode(errors="replace")) <= _LONGEST
    return short and text.isprintable() and not text.startswith("$") and not set("+#") & set(text)


def _lines(body: bytes) -> list[bytes]:
    return [line for part in body.split(b"\n") if (line := part.rstrip(b"\r")).strip()]


def _named(body: bytes, *, lines: bool) -> tuple[bool, list[Message]]:
    try:
        read = [_LINE.decode(line) for line in _lines(body)] if lines else _BODY.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise RefusedError(
            400, f'not {{"topic": "...", "payload": ...}}, nor an array or lines of such: {e}. Correct it, or name the '
            "topic in the address: POST /readings/TOPIC"
        ) from None  # fmt: skip
    several = isinstance(read, list)
    return several, [Message(m.topic, bytes(m.payload), _JSON) for m in (read if isinstance(read, list) else [read])]
