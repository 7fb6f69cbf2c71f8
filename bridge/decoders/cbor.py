"""CBOR (RFC 8949) to objects: a map, or an array of maps. The one file that imports `cbor2`.

Tags for times, whole numbers and decimals of any size, and UUIDs are read; other tags are refused, such as those for
shared values, which would let a small message become a large one.
"""

import io
from functools import partial
from typing import Any, NoReturn

import cbor2

from bridge.decoders.parsed import Parser
from bridge.decoders.plain import objects
from bridge.decoders.wording import broken
from headrace.errors import PoisonError, Reason

_DEPTH = 64
_REFUSED = (25, 28, 29, 30, 35, 36, 52, 54, 256, 258, 260, 261, 43000)  # tags that the codec would read


def parse(payload: bytes) -> list[dict[str, Any]]:
    """The objects of a payload. PoisonError where it is not CBOR, or something else in it."""
    return objects(load(payload), "CBOR")


def load(payload: bytes) -> Any:
    """The one item that a payload is. PoisonError where it is none, or more than one."""
    stream = io.BytesIO(payload)
    found = _decode(cbor2.CBORDecoder(stream, **_SETTINGS), payload)
    if stream.tell() != len(payload):
        more = len(payload) - stream.tell()
        raise PoisonError(Reason.MALFORMED, f"not CBOR: {more:,} bytes more behind the first item. Send an array")
    return found


def split(payload: bytes) -> list[bytes]:
    """The bytes of each item of an array that has been read; of anything else the whole."""
    if payload[0] >> 5 != 4:
        return [payload]
    stream = io.BytesIO(payload)
    stream.seek(1 + {24: 1, 25: 2, 26: 4, 27: 8}.get(payload[0] & 31, 0))
    end = len(payload) - (payload[0] == 0x9F)  # an array without a length has a mark at its end
    decoder = cbor2.CBORDecoder(stream, **_SETTINGS)
    parts = []
    while (start := stream.tell()) < end:
        _decode(decoder, payload)
        parts.append(payload[start : stream.tell()])
    return parts


def _decode(decoder: cbor2.CBORDecoder, payload: bytes) -> Any:
    try:
        found = decoder.decode()
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError, TypeError) as e:
        cause = e.__cause__ if isinstance(e.__cause__, PoisonError) else None
        raise cause or broken("CBOR", payload, e) from None
    return found


def _tag(tag: cbor2.CBORTag, immutable: bool) -> NoReturn:  # noqa: ARG001 - the codec's own signature
    _refuse(tag.tag)


def _refuse(tag: int, value: object = None, immutable: bool = False) -> NoReturn:  # noqa: ARG001
    words = f"CBOR: the tag {tag} can't be read. Have the device send the value without it"
    raise PoisonError(Reason.WRONG_TYPE, words)


_SETTINGS: dict[str, Any] = {
    "max_depth": _DEPTH,
    "tag_hook": _tag,
    "semantic_decoders": {tag: partial(_refuse, tag) for tag in _REFUSED},
}
PARSER = Parser(parse, split)
