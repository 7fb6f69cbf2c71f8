"""Messages with their topics, as `mosquitto_sub -v` prints them, and the sample that those of one route are."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from headrace.contracts.onevalue import FIELD
from headrace.contracts.sample import Sample, read_sample, together
from headrace.errors import ConfigError
from headrace.protocol.filters import Filter

_AROUND = " \t\r\n\0"
# A topic has a slash, and no brace, bracket or quote; spaces it may have. Lines of JSON begin otherwise.
_TOPIC = re.compile(r"[^\s{}\[\]\"][^{}\[\]\"]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


class Message(NamedTuple):
    """One message."""

    topic: str
    payload: bytes


def messages_of(data: bytes) -> list[Message]:
    """The messages in `data`, a topic and its payload each, if that is what it has; none if its lines are no such.

    A payload may go on for several lines.
    """
    out: list[Message] = []
    for whole in data.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n"):
        line = whole.removesuffix("\r")
        found = _split(line)
        if found is not None:
            out.append(found)
        elif out and line:
            out[-1] = Message(out[-1].topic, out[-1].payload + b"\n" + line.encode(errors="surrogateescape"))
        elif line.strip():
            return []
    return out


def _split(line: str) -> Message | None:
    """The topic and the payload of a line; the payload is JSON, or begins at the first space."""
    head = _TOPIC.match(line)
    if head is None:
        return None
    at = head.end()
    topic = line[:at].rstrip() if line[at : at + 1] in {"{", "["} and line[at - 1] == " " else line.partition(" ")[0]
    if "/" not in topic or len(topic) == len(line):
        return None
    return Message(topic, line[len(topic) + 1 :].encode(errors="surrogateescape"))


def objects(messages: Iterable[Message]) -> tuple[Sample, list[str]]:
    """The readings of messages with objects, and what is wrong with those that were left out. ConfigError: there is
    none.
    """
    samples, left = [], []
    for message in messages:
        try:
            samples.append(read_sample(message.payload, message.topic))
        except ConfigError as e:
            left.append(str(e))
    if not samples:
        raise ConfigError("\n".join(left[:3]))
    return together(samples), left


def values(messages: Sequence[Message], topic: Filter) -> Sample:
    """The readings of messages with one plain value each: a key for the level of the topic that is called {field}."""
    return Sample(tuple({topic.values(m.topic)[FIELD]: value(m.payload)} for m in messages if m.payload.strip()))


def value(payload: bytes) -> Any:
    """The number or the boolean that a payload is, else its text, as a route with `format: value` reads it."""
    text = payload.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").strip(_AROUND)
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if _NUMBER.fullmatch(text):
        return json.loads(text)
    return {"true": True, "false": False}.get(text.lower(), text)
