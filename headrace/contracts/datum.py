"""Single Avro datums, read without trusting a byte: refuses what fastavro would misread or hang on."""

from headrace.contracts.avro import Node
from headrace.errors import PoisonError, Reason

_BITS = {"int": 32, "enum": 32, "long": 64}
_KEY = Node("string")


def check(datum: bytes, node: Node) -> None:
    """Pass where `datum` is exactly one value of the type, by the letter of Avro's specification; else PoisonError."""
    reader = _Strict(datum)
    at = reader.value(node, 0, "")
    if at != len(datum):
        more = len(datum) - at
        raise PoisonError(Reason.MALFORMED, f"not Avro of the schema: {more:,} bytes after the end of the reading")


class _Strict:
    """Walks a datum and refuses what the specification does not allow. Time is bounded by the datum's length."""

    def __init__(self, datum: bytes) -> None:
        self.datum = datum

    def value(self, node: Node, at: int, path: str) -> int:
        """The offset after a value of type `node` that starts at `at`."""
        if node.nullable:
            branch, at = self._varint(at, path, 64)
            if branch not in (0, 1):
                raise _bad(path, f"union branch {branch} of 2")
            if branch == node.null_index:
                return at
        match node.kind:
            case "record":
                for m in node.members:
                    at = self.value(m.type, at, f"{path}.{m.name}" if path else m.name)
                return at
            case "array" | "map":
                return self._blocks(node, at, path)
            case "string" | "bytes":
                return self._text(node, at, path)
        return self._scalar(node, at, path)

    def _scalar(self, node: Node, at: int, path: str) -> int:
        if node.kind in _BITS:
            index, end = self._varint(at, path, _BITS[node.kind])
            if node.kind == "enum" and not 0 <= index < len(node.symbols):
                raise _bad(path, f"symbol {index} of {len(node.symbols)}")
            return end
        end = self._take(at, node.size, path)
        if node.kind == "boolean" and self.datum[at] > 1:
            raise _bad(path, f"byte {self.datum[at]} for a boolean")
        self._decimal(node, at, end, path)
        return end

    def _text(self, node: Node, at: int, path: str) -> int:
        size, at = self._varint(at, path, 64)
        end = self._take(at, size, path)
        if node.kind == "string":
            try:
                self.datum[at:end].decode()
            except UnicodeDecodeError:
                raise _bad(path, "not UTF-8") from None
        self._decimal(node, at, end, path)
        return end

    def _decimal(self, node: Node, at: int, end: int, path: str) -> None:
        if node.precision and abs(int.from_bytes(self.datum[at:end], signed=True)) >= 10**node.precision:
            raise _bad(path, f"a decimal of more than {node.precision} digits")

    def _blocks(self, node: Node, at: int, path: str) -> int:
        assert node.items is not None
        while True:
            count, at = self._varint(at, path, 64)
            if count == 0:
                return at
            end = -1
            if count < 0:
                size, at = self._varint(at, path, 64)
                count, end = -count, self._take(at, size, path)
            for _ in range(count):  # each item takes a byte at least: ends with the datum
                if node.kind == "map":
                    at = self._text(_KEY, at, path)
                at = self.value(node.items, at, path)
            if end >= 0 and at != end:
                raise _bad(path, "a block's size is not its items'")

    def _take(self, at: int, size: int, path: str) -> int:
        if size < 0:
            raise _bad(path, f"length {size}")
        if at + size > len(self.datum):
            raise _bad(path, f"{size} bytes are announced, {len(self.datum) - at} are there")
        return at + size

    def _varint(self, at: int, path: str, bits: int) -> tuple[int, int]:
        n = shift = 0
        while True:
            if at >= len(self.datum):
                raise _bad(path, "the reading ends in the middle")
            byte = self.datum[at]
            at += 1
            n |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise _bad(path, "a number of more than 10 bytes")
        if n >> bits:
            raise _bad(path, f"a number of more than {bits} bits")
        return (n >> 1) ^ -(n & 1), at


def _bad(path: str, what: str) -> PoisonError:
    return PoisonError(Reason.MALFORMED, f"not Avro of the schema: {path or 'the reading'}: {what}", field=path)
