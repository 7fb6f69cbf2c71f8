"""Compressed payloads: what is in them, with a bound, and the decoder that comes behind.

`auto` takes each kind by its first bytes, and what begins otherwise as it is.
"""

import zlib
from collections.abc import Mapping
from typing import Any

from bridge.decoders.base import Decoder, Found, Refused, Source
from headrace.config.formats import Compression
from headrace.errors import PoisonError, Reason

MAX_BYTES = 4 * 1024 * 1024  # of what a payload holds, as without compression: 4 KB of gzip can hold that much
_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_STEP = 256  # bytes of zstd at a time
_MAX_PARTS = 100  # streams one behind the other: each costs time, and an empty one has only some bytes


class Unpacking:
    """A `Decoder` of payloads that are compressed, in front of the one for what they hold."""

    def __init__(self, inner: Decoder, compression: Compression) -> None:
        self._inner = inner
        self._kind = compression

    @property
    def ignored(self) -> int:
        """As `Decoder` has it."""
        return self._inner.ignored

    @ignored.setter
    def ignored(self, value: int) -> None:
        self._inner.ignored = value

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """As `Decoder` has it. A dead letter of an element is compressed like the payload."""
        try:
            plain = unpack(payload, self._kind)
        except PoisonError as e:
            return [Refused(e, payload)]
        found = self._inner.decode(plain, source, received)
        return [Refused(f.error, self._packed(f.original, plain, payload)) if type(f) is Refused else f for f in found]

    def element(self, payload: bytes, index: int) -> bytes:
        """As `Decoder` has it."""
        plain = unpack(payload, self._kind)
        return self._packed(self._inner.element(plain, index), plain, payload)

    def marks(self, payload: bytes) -> Mapping[str, Any]:
        """As `Decoder` has it."""
        try:
            return self._inner.marks(unpack(payload, self._kind))
        except PoisonError:
            return self._inner.marks(b"")

    def _packed(self, original: bytes, plain: bytes, payload: bytes) -> bytes:
        if original == plain:
            return payload
        return pack(original, _by_magic(payload) if self._kind == "auto" else self._kind)


def unpack(payload: bytes, kind: Compression) -> bytes:
    """What a payload holds. PoisonError: it is not compressed so, or damaged, or holds more than MAX_BYTES."""
    match _by_magic(payload) if kind == "auto" else kind:
        case "gzip":
            return _inflated(payload, zlib.MAX_WBITS | 16, "gzip")
        case "deflate":
            try:
                return _inflated(payload, zlib.MAX_WBITS, "deflate")  # RFC 1950
            except PoisonError as e:
                if e.reason is Reason.TOO_LARGE:
                    raise
            return _inflated(payload, -zlib.MAX_WBITS, "deflate")  # RFC 1951: without the header
        case "zstd":
            return _unzstd(payload)
    return payload


def pack(plain: bytes, kind: Compression) -> bytes:
    """A payload that holds these bytes; the same each time."""
    match kind:
        case "gzip" | "deflate":
            packer = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if kind == "gzip" else 0))
            return packer.compress(plain) + packer.flush()
        case "zstd":
            import zstandard

            return zstandard.compress(plain)
    return plain


def _by_magic(payload: bytes) -> Compression:
    return next((kind for magic, kind in _MAGIC.items() if payload.startswith(magic)), "none")


def _inflated(payload: bytes, wbits: int, kind: str) -> bytes:
    out, rest, parts = b"", payload, 0
    while rest or not out:
        parts = _counted(parts, kind)
        stream = zlib.decompressobj(wbits)
        try:
            out += stream.decompress(rest, MAX_BYTES + 1 - len(out))
        except zlib.error as e:
            raise _damaged(kind, str(e)) from None
        if len(out) > MAX_BYTES:
            raise _bomb(kind)
        if not stream.eof:
            raise _damaged(kind, "it ends too early")
        rest = stream.unused_data.lstrip(b"\0")  # gzip allows members one behind the other, and NULs at the end
        if rest and kind != "gzip":
            raise _damaged(kind, f"{len(rest):,} bytes more behind it")
        if not rest:
            break
    return out


def _unzstd(payload: bytes) -> bytes:
    import zstandard

    # A few bytes may hold megabytes, so the bound is looked at after every 256. Nor may a window be larger.
    codec = zstandard.ZstdDecompressor(max_window_size=MAX_BYTES)
    stream = codec.decompressobj()
    parts: list[bytes] = []
    size, frames = 0, 1
    rest = memoryview(payload)
    try:
        while rest:
            if stream.eof:  # another frame
                frames = _counted(frames, "zstd")
                stream = codec.decompressobj()
            parts.append(stream.decompress(rest[:_STEP]))
            size += len(parts[-1])
            if size > MAX_BYTES:
                raise _bomb("zstd")
            rest = rest[min(_STEP, len(rest)) - len(stream.unused_data) :]
    except zstandard.ZstdError as e:
        raise _damaged("zstd", str(e)) from None
    if not stream.eof:
        raise _damaged("zstd", "it ends too early")
    return b"".join(parts)


def _counted(parts: int, kind: str) -> int:
    if parts >= _MAX_PARTS:
        words = f"more than {_MAX_PARTS} streams of {kind} one behind the other. Have the device compress all as one"
        raise PoisonError(Reason.TOO_LARGE, words)
    return parts + 1


def _damaged(kind: str, why: str) -> PoisonError:
    words = f"not {kind}, or damaged: {why}. The route's `compression` says what its payloads are"
    return PoisonError(Reason.MALFORMED, words)


def _bomb(kind: str) -> PoisonError:
    words = f"more than {MAX_BYTES // 2**20} MiB, once its {kind} is unpacked. Have the device send less at once"
    return PoisonError(Reason.TOO_LARGE, words)
