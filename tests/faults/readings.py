"""The readings that the fleet sends: each is computed from its device and number, so an audit can compute it again."""

from collections.abc import Iterable
from enum import IntEnum
from hashlib import blake2b

import numpy as np
import orjson
import polars as pl

STREAM = "imu"
PRIME = 1_000_003
# axis: (factor of the number, factor of the device, number of steps); in tenths, around zero, within the contract.
AXES = {
    "ax": (7919, 104_729, 3001), "ay": (6007, 92_821, 2999), "az": (4099, 65_537, 2801),
    "gx": (31, 17, 601), "gy": (37, 29, 599), "gz": (41, 23, 547),
}  # fmt: skip
PADDING = 1_500_000  # bytes, of a reading that is as large as a device may send: most of it white space


class Kind(IntEnum):
    """What a message is meant to become."""

    GOOD = 0  # a row
    PADDED = 1  # a row, from a payload of a megabyte and a half
    BROKEN = 2  # a dead letter of the bridge: JSON cut in the middle
    OUT_OF_RANGE = 3  # a dead letter of clean
    LARGE = 4  # a dead letter too large for its topic
    TINY = 5  # a dead letter of one byte; copies of it are one letter


ROWS = (Kind.GOOD, Kind.PADDED)


def kind(number: int, device: int, poison: float, bulky: float) -> Kind:
    """What reading `number` of a device is, of which the fraction `poison` is refused and `bulky` is large."""
    dice = (number * 2_654_435_761 + device * PRIME) % 1_000_000 / 1_000_000
    if dice < poison:
        return (Kind.BROKEN, Kind.OUT_OF_RANGE, Kind.TINY)[(number + device) % 3]
    if dice < poison + bulky:
        return (Kind.PADDED, Kind.LARGE)[(number + device) % 2]
    return Kind.GOOD


def topic(device_id: str) -> str:
    """Where a device publishes."""
    return f"sensors/{device_id}/{STREAM}"


def axis(name: str, number: int, device: int) -> float:
    """The value of an axis."""
    by_number, by_device, steps = AXES[name]
    return ((number * by_number + device * by_device) % steps - steps // 2) / 10


def payload(what: Kind, boot: str, device: int, number: int, micros: int) -> bytes:
    """The bytes that a device publishes."""
    if what is Kind.TINY:
        return b"%d" % (number % 10)
    values = {name: axis(name, number, device) for name in AXES}
    if what is Kind.OUT_OF_RANGE:
        values["ax"] = 1e6 + number
    out = orjson.dumps({"event_time": micros, "sequence": number, "boot_id": boot, **values})
    if what is Kind.BROKEN:
        return out[: -len(out) // 3]
    if what is Kind.PADDED:
        return out + b" " * (PADDING - len(out))
    if what is Kind.LARGE:
        return out[:-1] + b',"blob":"' + b"x" * 3_000_000 + b'"}'
    return out


def letter_id(topic_name: str, data: bytes) -> bytes:
    """The event id that docs/guarantees.md promises a message's dead letter: a hash of topic and payload."""
    return blake2b(topic_name.encode() + b"\0" + data, digest_size=16).digest()


def with_values(sent: pl.DataFrame) -> pl.DataFrame:
    """`sent` (device: number of it; sequence) with the columns that its rows must have in the lake."""
    number, device = (sent[name].cast(pl.Int64).to_numpy() for name in ("sequence", "device"))
    values: Iterable[pl.Series] = (
        pl.Series(name, ((number * a + device * b) % m - m // 2) / np.float64(10)) for name, (a, b, m) in AXES.items()
    )
    return sent.with_columns(values)
