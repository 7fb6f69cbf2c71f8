"""MessagePack to objects: a map, or an array of maps. Its timestamps are times; other extension types are refused."""

from typing import Any

import msgspec

from bridge.decoders.parsed import Parser
from bridge.decoders.plain import objects
from bridge.decoders.wording import broken

_LIST = msgspec.msgpack.Decoder(list[msgspec.Raw])


def parse(payload: bytes) -> list[dict[str, Any]]:
    """The objects of a payload. PoisonError where it is not MessagePack, or something else in it."""
    try:
        found = _ANY.decode(payload)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, TypeError) as e:
        raise broken("MessagePack", payload, e) from None
    return objects(found, "MessagePack")


def split(payload: bytes) -> list[bytes]:
    """The bytes of each item of an array that has been read; of anything else the whole."""
    is_array = payload[0] >> 4 == 0x9 or payload[0] in {0xDC, 0xDD}
    return [bytes(one) for one in _LIST.decode(payload)] if is_array else [payload]


def _refuse(code: int, data: memoryview) -> Any:  # noqa: ARG001 - the codec's own signature
    raise ValueError(f"the extension type {code} can't be read. Have the device send the value without it")


_ANY = msgspec.msgpack.Decoder(ext_hook=_refuse)
PARSER = Parser(parse, split)
