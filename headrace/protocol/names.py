"""Names that go from one system into another: streams, devices, topics, object keys. Only listed characters pass."""

import re
from urllib.parse import quote

LONGEST = 64  # characters of a device id
ALPHABET = f"1 to {LONGEST} letters, digits, underscores and hyphens"
_DEVICE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
STREAM = r"[a-z][a-z0-9_]{0,47}"  # the names that a stream may have
RAW, CLEAN = ".raw", ".clean"
ENTRY_POINT = r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)"  # package.module:function
SERVICES = "headrace"  # how the identities of the services begin, in any case
DEVICE_EVENTS, DEVICE_AUDIT = "device_events", "device_audit"  # the streams of hub
UPLOADS, FILES = "uploads", "_files"  # the stream of uploads; how the streams end that have the rows of files
DEVICE, TIME, QUALITY = "device_id", "event_time", "_quality"  # the fields that every contract has
LETTERS_TABLE = "dead_letters"  # the dead letters, in SQL
EXTRA = "_extra"  # a field for what a payload has beside the contract's fields
OURS = frozenset({QUALITY, EXTRA})  # fields that Headrace fills: no key of a payload does


def is_device_id(text: str) -> bool:
    """Whether `text` may name a device: 1 to 64 of A-Z, a-z, 0-9, underscore and hyphen."""
    return _DEVICE.match(text) is not None


def is_identity(text: str) -> bool:
    """Whether `text` may be the identity of a device or a gateway: the name of a device, and not of a service."""
    return is_device_id(text) and not text.lower().startswith(SERVICES)


def check_stream(name: str) -> str:
    """`name`; ValueError when it can't name a stream (it becomes a topic, a folder and an SQL view)."""
    if re.fullmatch(STREAM, name) is None:
        raise ValueError(
            f"{name!r} can't name a stream: begin with a letter a-z, then use a-z, 0-9 and _, 48 characters at most"
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


def lake_folder(topic: str) -> str:
    """The folder of the lake that a topic's rows lie in: `imu` for imu.clean, `imu.raw` for imu.raw."""
    return key_part(topic.removesuffix(CLEAN))


def key_part(text: str) -> str:
    """`text` as one part of an object key: percent-encoded, except letters, digits and `_.-`."""
    return quote(text, safe="")
