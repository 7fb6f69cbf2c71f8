"""Values of a contract's fields to Avro bytes (Avro 1.12, binary encoding), by a function made for the contract.

An encoder does not check types: it takes the values that `bridge.decoders.values` makes. Other values give a wrong
datum or an exception.
"""

import struct
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from headrace.contracts.avro import Node
from headrace.contracts.model import Contract
from headrace.protocol.names import DEVICE

Writer = Callable[[Any], bytes]
Encoder = Callable[[Sequence[Any]], bytes]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(dict[K, V], Generic[K, V]):
    """What `make` gives for keys that come again and again. After `most` of them it begins anew."""

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        super().__init__()
        self._make, self._most = make, most

    def __missing__(self, key: K) -> V:
        if len(self) >= self._most:
            self.clear()
        made = self[key] = self._make(key)
        return made


_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_SOME_DOUBLE = struct.Struct("<Bd")
_SOME_FLOAT = struct.Struct("<Bf")
_OURS = "" if sys.byteorder == "little" else "<"  # floats and doubles alone: the machine's own take half the time
_HUGE = (b"\x7f", b"\xff")  # the first eight bits of a float of 2^127 or more, infinite ones too; of minus as much
_MAX_HIGH = 4096  # upper parts of longs remembered
_MAX_TEXTS = 10_000  # ids of devices remembered
_MAX_SIZES = 100  # sizes of arrays of numbers remembered
_BOOLEAN = (b"\0", b"\1")


def encoder(contract: Contract, prefix: bytes = b"") -> Encoder:
    """The function from a reading's values, in the contract's order, to `prefix` and its datum.

    It generates Python source and compiles it, as `dataclasses` does: one expression without loops takes 1.6 us for
    the 17 fields of `imu`, a list of closures 2.5, fastavro 3 to 9. No text of the contract enters the source.
    """
    names: dict[str, Any] = {"join": b"".join, "prefix": prefix, "NULL": b"\0", "SOME": b"\2"}
    parts = ["prefix"]
    fields = list(contract.fields)
    i = 0
    while i < len(fields):
        field = fields[i]
        run = i
        while run < len(fields) and fields[run].kind == "double" and not fields[run].nullable:
            run += 1
        if run > i:
            names[f"w{i}"] = struct.Struct(f"{_OURS}{run - i}d").pack
            parts.append(f"w{i}({', '.join(f'v{j}' for j in range(i, run))})")
            i = run
            continue
        if field.name == DEVICE:
            names["device"] = Remembered(string, _MAX_TEXTS)
            parts.append(f"device[v{i}]")
        elif not field.nullable:
            names[f"w{i}"] = writer(field.type)
            parts.append(f"w{i}(v{i})")
        elif field.kind in {"double", "float"}:
            names[f"w{i}"] = (_SOME_DOUBLE if field.kind == "double" else _SOME_FLOAT).pack
            parts.append(f"NULL if v{i} is None else w{i}(2, v{i})")
        else:
            names[f"w{i}"] = _present(field.type)
            parts.append(f"NULL if v{i} is None else SOME + w{i}(v{i})")
        i += 1
    values = ", ".join(f"v{j}" for j in range(len(fields)))
    source = f"def encode(values):\n    ({values},) = values\n    return join(({', '.join(parts)},))\n"
    exec(compile(source, f"<encoder of {contract.name}>", "exec"), names)  # noqa: S102 - see the docstring
    made: Encoder = names["encode"]
    return made


def writer(node: Node) -> Writer:
    """The function from a value of a type, as a contract has it, to its Avro bytes."""
    inner = _present(node)
    return (lambda v: b"\0" if v is None else b"\2" + inner(v)) if node.nullable else inner


def _present(node: Node) -> Writer:
    """The same for values that are not null."""
    if node.items is not None:
        return _array(node.items)
    if node.kind == "record":
        members = [writer(m.type) for m in node.members]
        return lambda v: b"".join([write(x) for write, x in zip(members, v, strict=True)])
    return _WRITERS[node.kind]


def _array(items: Node) -> Writer:
    if items.kind in {"double", "float"}:
        pack = _doubles if items.kind == "double" else _floats
        return lambda v: long(len(v)) + pack(v) + b"\0" if v else b"\0"
    item = writer(items)
    return lambda v: long(len(v)) + b"".join([item(x) for x in v]) + b"\0" if v else b"\0"


# A Struct takes a tuple as it is; `struct.pack` copies what it is given twice.
_DOUBLES: Remembered[int, Callable[..., bytes]] = Remembered(lambda n: struct.Struct(f"{_OURS}{n}d").pack, _MAX_SIZES)
_FLOATS: Remembered[int, Callable[..., bytes]] = Remembered(lambda n: struct.Struct(f"{_OURS}{n}f").pack, _MAX_SIZES)


def _doubles(numbers: Sequence[float]) -> bytes:
    return _DOUBLES[len(numbers)](*numbers)


def _floats(numbers: Sequence[float]) -> bytes:
    """OverflowError where one is beyond 32 bits, which `struct` sees in its own order only."""
    found = _FLOATS[len(numbers)](*numbers)
    tops = found[3::4]
    if _HUGE[0] in tops or _HUGE[1] in tops:
        return struct.pack(f"<{len(numbers)}f", *numbers)
    return found


def varint(number: int) -> bytes:
    """A number of 0 or more in groups of seven bits, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# 14 bits of a long, as the two bytes that have more behind them; and whole longs of 14 bits.
_TWO = [bytes((i & 0x7F | 0x80, i >> 7 | 0x80)) for i in range(1 << 14)]
_WHOLE = [varint(i) for i in range(1 << 14)]


_HIGH = Remembered(varint, _MAX_HIGH)  # that of a time in microseconds changes every two minutes


def long(number: int) -> bytes:
    """An int or long, -2^63 to 2^63 - 1: zigzag, then varint."""
    zigzag = (number << 1) ^ (number >> 63)
    if zigzag < 0x4000:
        return _WHOLE[zigzag]
    if zigzag < 0x1000_0000:
        return _TWO[zigzag & 0x3FFF] + _WHOLE[zigzag >> 14]
    return _TWO[zigzag & 0x3FFF] + _TWO[zigzag >> 14 & 0x3FFF] + _HIGH[zigzag >> 28]


def string(text: str) -> bytes:
    """A string: its length in bytes, then UTF-8."""
    data = text.encode()
    size = len(data)
    return (_WHOLE[size << 1] if size < 0x2000 else long(size)) + data


def _bytes(data: bytes) -> bytes:
    return long(len(data)) + data


_WRITERS: dict[str, Writer] = {
    "double": _DOUBLE.pack,
    "float": _FLOAT.pack,
    "int": long,
    "long": long,
    "enum": long,
    "string": string,
    "boolean": _BOOLEAN.__getitem__,
    "bytes": _bytes,
    "fixed": bytes,
}
