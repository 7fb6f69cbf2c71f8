"""Rows made from a contract alone: values within its bounds and at them, nulls wherever a value may be missing."""

import random
import string
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from headrace.contracts.avro import Node
from headrace.contracts.model import Contract, Field
from headrace.protocol.names import DEVICE, TIME
from headrace.transforms.table import fields_of

_START = {"timestamp-micros": 1_800_000_000_000_000, "timestamp-millis": 1_800_000_000_000}
_DEVICES = 3
_NULL_EVERY = 8
_BITS = {"int": 31, "long": 53}


def sample(contract: Contract, rows: int) -> dict[str, list[Any]]:
    """`rows` rows as `table.Columns`, the same each time."""
    draw = random.Random(1)  # noqa: S311 - not a secret
    return {f.name: [_value(f, row, draw) for row in range(rows)] for f in fields_of(contract)}


def _value(f: Field, row: int, draw: random.Random) -> Any:
    if f.name == DEVICE:
        return f"device-{row % _DEVICES + 1}"
    if f.logical in _START:
        return _START[f.logical] + row * 1000 if f.name == TIME else _START[f.logical] + draw.randrange(10**9)
    if f.nullable and draw.randrange(_NULL_EVERY) == 0:
        return None
    return _of(f.type, draw, f.minimum, f.maximum, f.max_items or 8)


def _of(node: Node, draw: random.Random, low: float | None, high: float | None, items: int) -> Any:
    match node.kind:
        case "double" | "float" | "int" | "long":
            number = _number(draw, -100.0 if low is None else low, 100.0 if high is None else high)
            bits = _BITS.get(node.kind)
            return number if bits is None else max(-(2**bits), min(2**bits - 1, round(number)))
        case "array":
            assert node.items is not None
            return [_of(node.items, draw, low, high, 0) for _ in range(draw.randrange(min(items, 64) + 1))]
        case "record":
            return {m.name: None if m.type.nullable else _of(m.type, draw, None, None, 8) for m in node.members}
    if node.precision:
        return Decimal(draw.randrange(10 ** min(node.precision, 3))).scaleb(-node.scale)
    return _OTHERS[node.kind](node, draw)


def _number(draw: random.Random, low: float, high: float) -> float:
    """Sometimes at a bound, sometimes zero where that is allowed."""
    edges = [low, high, *([0.0] if low <= 0 <= high else [])]
    return draw.choice(edges) if draw.randrange(_NULL_EVERY) == 0 else draw.uniform(low, max(low, high))


_OTHERS: dict[str, Callable[[Node, random.Random], Any]] = {
    "boolean": lambda _, draw: draw.random() < 0.5,
    "string": lambda _, draw: "".join(draw.choices(string.ascii_letters, k=draw.randrange(9))),
    "enum": lambda node, draw: draw.choice(node.symbols),
    "bytes": lambda _, draw: draw.randbytes(draw.randrange(9)),
    "fixed": lambda node, draw: draw.randbytes(node.size),
}
