"""Content types of messages: how they are compared, and which ones the payload formats usually have.

They are those of the IANA registry (https://www.iana.org/assignments/media-types/), of the formats' own specifications,
and forms with x- that are older than both.
"""

from collections.abc import Mapping

LONGEST = 255  # characters of a content type that is compared, or kept in a dead letter

USUAL: Mapping[str, str] = {
    "application/json": "json",
    "text/json": "json",
    "text/csv": "csv",
    "application/senml+json": "senml",
    "application/senml+cbor": "senml",
    "application/cbor": "cbor",
    "application/vnd.msgpack": "msgpack",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/avro": "avro",
    "avro/binary": "avro",
    "application/protobuf": "protobuf",
    "application/x-protobuf": "protobuf",
    "application/vnd.google.protobuf": "protobuf",
}
_SUFFIXES = {"+json": "json", "+cbor": "cbor"}  # RFC 6839, RFC 8949


def essence(content_type: str) -> str:
    """A content type as it is compared: without parameters such as `; charset=utf-8`, in small letters."""
    return content_type.partition(";")[0].strip().lower()


def guess(media_type: str) -> str:
    """The format that a type, as `essence` gives it, probably means; empty where it says nothing."""
    found = USUAL.get(media_type)
    return found or next((name for suffix, name in _SUFFIXES.items() if media_type.endswith(suffix)), "")
