"""The file around a batch of datums: an Avro object container, whose schema says only how values are stored."""

from typing import Any

from headrace.contracts.avro import Node


def plain(node: Node) -> dict[str, Any]:
    """The Avro schema of a record without logical types, attributes and references: values as they are stored."""
    out: dict[str, Any] = _plain(node, [0])
    return out


def long_bytes(n: int) -> bytes:
    """`n` as Avro's zigzag variable-length long."""
    z = (n << 1) ^ (n >> 63)
    out = bytearray()
    while z > 0x7F:
        out.append((z & 0x7F) | 0x80)
        z >>= 7
    out.append(z)
    return bytes(out)


def head(schema_json: bytes, sync: bytes) -> bytes:
    """The head of an Avro object container whose one block follows: count, size, bodies, sync marker."""
    name = b"avro.schema"
    meta = long_bytes(1) + long_bytes(len(name)) + name + long_bytes(len(schema_json)) + schema_json + b"\0"
    return b"Obj\x01" + meta + sync


def _plain(node: Node, count: list[int]) -> Any:
    count[0] += 1
    name = f"t{count[0]}"  # a type used twice is written out twice: the fast reader takes no references
    out: Any
    match node.kind:
        case "record":
            fields = [{"name": m.name, "type": _plain(m.type, count)} for m in node.members]
            out = {"type": "record", "name": name, "fields": fields}
        case "enum":
            out = {"type": "enum", "name": name, "symbols": list(node.symbols)}
        case "fixed":
            out = {"type": "fixed", "name": name, "size": node.size}
        case "array" | "map":
            assert node.items is not None
            out = {"type": node.kind, "items" if node.kind == "array" else "values": _plain(node.items, count)}
        case _:
            out = node.kind
    if node.nullable:
        return ["null", out] if node.null_index == 0 else [out, "null"]
    return out
