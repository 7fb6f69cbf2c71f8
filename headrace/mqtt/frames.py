"""Cuts a stream of bytes into whole MQTT packets, however the bytes arrive."""

from collections.abc import Callable
from typing import Generic, TypeVar

from headrace.errors import TransientError

P = TypeVar("P")


class Frames(Generic[P]):
    """Cuts the broker's bytes into packets. A packet of more than `limit` bytes is an error, and so is a malformed one.

    `read`, the codec, takes bytes and returns the packet at their beginning and its size. It raises IndexError when
    they end before the packet does.
    """

    def __init__(self, read: Callable[[memoryview], tuple[P, int]], limit: int) -> None:
        self._read = read
        self._limit = limit
        self._rest = bytearray()
        self._need = 0  # bytes that `_rest` must have before a packet is whole

    def feed(self, data: bytes) -> list[P]:
        """The packets that are whole now. TransientError: the bytes are not MQTT, so only a new connection helps."""
        whole: bytes | bytearray = data
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return []
            whole, self._rest = self._rest, bytearray()
        out: list[P] = []
        position, end = 0, len(whole)
        with memoryview(whole) as view:
            while position < end:
                try:
                    packet, size = self._read(view[position:])
                except IndexError:
                    self._need = self._length(view[position : position + 5])
                    if self._need <= end - position:
                        raise TransientError("the MQTT broker sent a malformed packet: shorter than it says") from None
                    break
                except BaseException as e:  # noqa: BLE001 - a panic of the codec (text that isn't UTF-8) is a BaseException
                    raise TransientError(f"the MQTT broker sent a malformed packet: {e}") from None
                out.append(packet)
                position += size
            self._rest += view[position:]
        return out

    def _length(self, head: memoryview) -> int:
        """The length of the packet that begins with `head`, or one byte more than `head` has if it does not say yet."""
        length = 0
        for i, byte in enumerate(head[1:]):
            length |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if length > self._limit:
                    raise TransientError(
                        f"the MQTT broker sent a packet of {length:,} bytes: the limit is {self._limit:,}"
                    )
                return 2 + i + length
        return len(head) + 1
