"""Payloads with mistakes in them: good ones with bytes changed, left out, repeated, cut off; a few of them large."""

from random import Random

MOST = 1 << 20  # bytes of the large ones
_ODD = (
    b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"[" * 64, b'{"a":' * 64, b"1e999", b"-0", b"NaN", b"9" * 40, b"null",
    b'"', b"\\ud800", b"\xc3", b"\xef\xbb\xbf", b"\n", b",", b"\x9f", b"\xbf", b"\xdd\x7f\xff\xff\xff",
    b"\x80\x80\x80\x80\x10",
)  # fmt: skip


def payload(good: tuple[bytes, ...], seed: str) -> bytes:
    """The payload of a seed: the same ones give the same bytes."""
    rng = Random(seed)
    data = bytearray(rng.choice(good))
    kind = rng.random()
    if kind < 0.01:
        return rng.randbytes(rng.randrange(200))
    if kind < 0.015:
        return _large(rng, bytes(data))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 5))):
        _once(rng, data, good)
    return bytes(data)


def _once(rng: Random, data: bytearray, good: tuple[bytes, ...]) -> None:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(9):
        case 0:
            data[at : at + 1] = rng.randbytes(1)
        case 1:
            del data[at : at + rng.randint(1, 8)]
        case 2:
            data[at:at] = data[at : at + rng.randint(1, 16)]
        case 3:
            data[at:at] = rng.choice(_ODD)
        case 4:
            del data[at:]
        case 5:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        case 6 if at < len(data):  # one bit: of a length, a type, a digit
            data[at] ^= 1 << rng.randrange(8)
        case 7 if at < len(data):  # a byte like it: numbers and words stay such
            data[at] = max(0, min(255, data[at] + rng.choice((-1, 1))))
        case _:  # the end of another
            other = rng.choice(good)
            data[at:] = other[rng.randrange(len(other) + 1) :]


def _large(rng: Random, data: bytes) -> bytes:
    """A part of it again and again, between what stands before and behind it."""
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.randint(1, 64))
    part = data[start:end] or rng.choice(_ODD)
    times = rng.randint(1, MOST) // len(part)
    return data[:start] + part * times + data[end:]
