"""An edge node of Sparkplug B for tests. Its payloads are written by hand, from the fields of Sparkplug 3.0, 6.4."""

import struct
from dataclasses import dataclass, field
from itertools import count

T = 1_486_144_502_122  # milliseconds since 1970
Message = tuple[str, bytes]  # topic, payload
BOOLEAN, DOUBLE, INT16, INT64 = 11, 10, 2, 4


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def number(at: int, n: int) -> bytes:
    return varint(at << 3) + varint(n)


def chunk(at: int, data: bytes) -> bytes:
    return varint(at << 3 | 2) + varint(len(data)) + data


def double(value: float, at: int = 13) -> bytes:
    return varint(at << 3 | 1) + struct.pack("<d", value)


def metric(name: str = "", *parts: bytes, datatype: int = 0, alias: int | None = None) -> bytes:
    """A metric of a payload; of a template with `inner`."""
    body = (chunk(1, name.encode()) if name else b"") + (number(2, alias) if alias is not None else b"")
    return chunk(2, body + b"".join(parts) + (number(4, datatype) if datatype else b""))


def payload(*metrics: bytes, at: int | None = T, seq: int | None = 2) -> bytes:
    head = number(1, at) if at is not None else b""
    return head + b"".join(metrics) + (number(3, seq) if seq is not None else b"")


@dataclass
class EdgeNode:
    """It has devices whose metrics are doubles; its data has aliases alone. Each payload has another time."""

    group: str
    name: str
    devices: dict[str, dict[str, int]]  # the aliases of each device's metrics
    session: int = 0
    seq: int = 0
    clock: count = field(default_factory=lambda: count(T))  # type: ignore[type-arg]

    def topic(self, kind: str, device: str = "") -> str:
        return f"spBv1.0/{self.group}/{kind}/{self.name}" + (f"/{device}" if device else "")

    def births(self, **values: float) -> list[Message]:
        """Its birth and those of its devices; `values` by metric, 0 for others."""
        self.seq = -1
        control = metric("Node Control/Rebirth", number(14, 0), datatype=BOOLEAN)
        session = metric("bdSeq", number(11, self.session), datatype=INT64)
        own = self._message("NBIRTH", "", session, control)
        return [own, *(self.birth(device, **values) for device in self.devices)]

    def birth(self, device: str, **values: float) -> Message:
        metrics = self.devices[device].items()
        parts = [metric(n, double(values.get(n, 0.0)), datatype=DOUBLE, alias=alias) for n, alias in metrics]
        return self._message("DBIRTH", device, *parts)

    def data(self, device: str, **values: float) -> Message:
        parts = [metric("", double(v), alias=self.devices[device][name]) for name, v in values.items()]
        return self._message("DDATA", device, *parts)

    def device_death(self, device: str) -> Message:
        return self._message("DDEATH", device)

    def death(self, session: int | None = None) -> Message:
        """Its last will, which the broker publishes; it has no number of its own."""
        it = metric("bdSeq", number(11, self.session if session is None else session), datatype=INT64)
        return self.topic("NDEATH"), payload(it, at=None, seq=None)

    def _message(self, kind: str, device: str, *metrics: bytes) -> Message:
        self.seq = (self.seq + 1) % 256
        return self.topic(kind, device), payload(*metrics, at=next(self.clock), seq=self.seq)
