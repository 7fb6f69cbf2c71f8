"""Names that go from one system into another: streams, devices, topics, object keys. Only an allowlist passes."""

import re
from urllib.parse import quote

_DEVICE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_STREAM = re.compile(r"[a-z][a-z0-9_]{0,47}\Z")
RAW, CLEAN = ".raw", ".clean"


def is_device_id(text: str) -> bool:
    """Whether `text` may name a device: 1 to 64 of A-Z, a-z, 0-9, underscore and hyphen."""
    return _DEVICE.match(text) is not None


def check_stream(name: str) -> str:
    """`name`, or ValueError where it can't name a stream (it becomes a topic, a folder and an SQL view)."""
    if _STREAM.match(name) is None:
        raise ValueError(
            f"{name!r} can't name a stream: a small letter, then small letters, digits, underscores; 48 at most"
        )
    return name


def raw_topic(stream: str) -> str:
    """The Kafka topic of a stream's readings as the bridge wrote them."""
    return stream + RAW


def clean_topic(stream: str) -> str:
    """The Kafka topic of a stream's readings after cleaning."""
    return stream + CLEAN


def stream_of(topic: str) -> str:
    """The stream that a topic belongs to: the part before `.raw` or `.clean`, else the topic itself."""
    return topic.removesuffix(RAW).removesuffix(CLEAN)


def key_part(text: str) -> str:
    """`text` as one part of an object key: percent-encoded but for letters, digits and `_.-`."""
    return quote(text, safe="")
