"""What the benchmarks send: each workload a function from a number and a time to a payload as a device sends it."""

import json
import math
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

POISON_EVERY = 100
PACKED = 20  # readings in a packet
PACKET = {
    "header": ["u8 version = 1", "u16 sequence", "u64 time", "u8 count"],
    "sample": [
        *(f"i16 {name} * 9.80665 / 16384" for name in ("ax", "ay", "az")),
        *(f"i16 {name} * 0.017453292519943295 / 131" for name in ("gx", "gy", "gz")),
    ],
    "count": "count", "time": "time", "unit": "us", "rate": 104,
}  # fmt: skip


class Workload(NamedTuple):
    """Messages of one kind. `make(i, now)`: the payload of message `i`, taken at `now`, in microseconds."""

    contract: str
    make: Callable[[int, int], bytes]
    words: str
    readings: int = 1  # in a message
    devices: int = 500
    route: Mapping[str, Any] = MappingProxyType({})  # how its payloads are written, where they are not JSON
    poison_every: int = 0  # of how many messages one can't be read; 0: all can
    apart: str = ""  # a stream that no other workload has

    def device(self, i: int) -> str:
        """Who sends message `i`."""
        return f"bench-{i % self.devices:05d}"

    @property
    def stream(self) -> str:
        """The stream of the benchmark that takes it."""
        return self.apart or f"bench_{self.contract}"


def imu(i: int, now: int) -> dict[str, Any]:
    """An IMU reading."""
    return {
        "event_time": now, "ax": 0.123 + i % 7, "ay": -9.81, "az": 1.5, "gx": 0.01, "gy": 0.02, "gz": -0.03,
        "temperature": 25.4, "sequence": i,
    }  # fmt: skip


def environment(i: int, now: int) -> dict[str, Any]:
    """A reading of a room, in an envelope as gateways make it: 1 kB."""
    gateway = {"id": "gateway-17", "rssi": -71 - i % 9, "snr": 9.25, "channel": 5, "airtime": 0.061, "seq": i}
    return {
        "event_time": now, "temperature": 21.5 + i % 5 / 10, "humidity": 44.1, "pressure": 1013.2, "co2": 612.5,
        "pm2_5": 4.2, "pm10": 7.7, "light": 312.0, "battery": 91.5, "sequence": i,
        "gateways": [{**gateway, "time": now + n} for n in range(8)],
    }  # fmt: skip


def waveform(i: int, now: int) -> dict[str, Any]:
    """A waveform of 3,600 samples: about 24 kB."""
    samples = [_WAVE[(i * 37 + n) % len(_WAVE)] for n in range(3_600)]
    return {"event_time": now, "sampling_rate": 12_000.0, "axis": "radial", "samples": samples, "sequence": i}


_WAVE = [round(math.sin(n / 7) * 1.3 + math.sin(n * n) * 0.2, 3) for n in range(4_096)]


def packed(i: int, now: int) -> bytes:
    """A packet of 20 IMU readings: a header with the time, then two bytes a value."""
    values = [(i * 7 + n * 131) % 32_000 - 16_000 for n in range(6 * PACKED)]
    return struct.pack(f"<BHQB{6 * PACKED}h", 1, i % 65_536, now, PACKED, *values)


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _poisoned(i: int, now: int) -> bytes:
    return b'{"event_time": broken' if i % POISON_EVERY == 0 else json.dumps(imu(i, now)).encode()


WORKLOADS = {
    "imu": Workload("imu", lambda i, now: json.dumps(imu(i, now)).encode(), "IMU readings of 150 bytes, JSON"),
    "poison": Workload("imu", _poisoned, "the same, and each 100th can't be read", poison_every=POISON_EVERY),
    "arrays": Workload(
        "imu",
        lambda i, now: _text([imu(i * 100 + n, now + n * 1000) for n in range(100)]),
        "arrays of 100 IMU readings",
        readings=100,
    ),
    "packed": Workload(
        "imu",
        packed,
        "packets of 20 IMU readings, binary",
        readings=PACKED,
        route={"format": "packed", "packed": PACKET},
    ),
    "environment": Workload(
        "environment",
        lambda i, now: _text(environment(i, now)),
        "readings of a room in an envelope of 1 kB, whose other keys are ignored",
    ),
    "waveforms": Workload("vibration", lambda i, now: _text(waveform(i, now)), "waveforms of 24 kB", devices=50),
}
LAKE = WORKLOADS["imu"]._replace(apart="bench_lake")  # written into Kafka, for clean and archive
