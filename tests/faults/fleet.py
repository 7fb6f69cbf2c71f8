"""Devices, each with a connection, publish steadily at QoS 1 in both versions of MQTT, and note each PUBACK."""

import asyncio
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import polars as pl

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.hub import lending
from headrace.hub.client import Hub
from headrace.simulation.device import Publisher
from tests.faults import readings
from tests.faults.posting import Poster
from tests.faults.readings import Kind

TICK = 0.02
BEHIND = 1.0  # seconds of readings that a device takes later when it could not send; older ones are never taken
PATIENCE = 900.0


@dataclass(frozen=True)
class Shape:
    """How a fleet publishes. `rate`: messages per second of all its devices together."""

    devices: int = 24
    rate: float = 1200.0
    window: int = 100  # messages in flight of a device
    poison: float = 0.0  # fraction that must end as dead letters
    bulky: float = 0.0  # fraction that is as large as may be
    http: bool = False  # posted to ingest, and acknowledged by its answer
    receipts: bool = False  # acknowledged is what the bridge has told of, and what it has not is sent again


@dataclass
class Device:
    """One device's readings so far: `times` (microseconds) and `acked` by sequence number."""

    number: int
    id: str
    times: "array[int]" = field(default_factory=lambda: array("q"))
    kinds: bytearray = field(default_factory=bytearray)
    acked: bytearray = field(default_factory=bytearray)


class Fleet:
    """A running fleet, of devices that hub knows.

    `boot` marks its readings: it is their boot_id, and a part of its devices' names.
    """

    def __init__(self, cfg: Config, boot: str, shape: Shape) -> None:
        self.boot, self.shape = boot, shape
        self.rate = shape.rate  # may be changed while it runs
        self.devices = [Device(n, f"{boot}-{n:03d}") for n in range(shape.devices)]
        self.problems: list[str] = []
        self._mqtt, self._ingest = cfg.mqtt, cfg.ingest
        self._passwords = lending.passwords(Hub(cfg.hub), [d.id for d in self.devices])
        self._stop = threading.Event()
        self._abandon = threading.Event()
        self._under_way: dict[tuple[str, bytes], list[tuple[Device, int]]] = {}
        self._thread = threading.Thread(target=self._run, name=boot, daemon=True)

    @property
    def acknowledged(self) -> int:
        """How many readings are obligations by now."""
        return sum(sum(d.acked) for d in self.devices)

    def sent(self) -> pl.DataFrame:
        """device, device_id, sequence, event_time (microseconds), kind, acked: a row for each message handed over."""
        frames = [
            pl.DataFrame(
                {
                    "device": pl.Series([d.number] * len(d.times), dtype=pl.Int64),
                    "device_id": pl.Series([d.id] * len(d.times), dtype=pl.String),
                    "sequence": pl.Series(range(len(d.times)), dtype=pl.Int64),
                    "event_time": pl.Series(list(d.times), dtype=pl.Int64),
                    "kind": pl.Series(list(d.kinds), dtype=pl.Int64),
                    "acked": pl.Series([bool(a) for a in d.acked], dtype=pl.Boolean),
                }
            )
            for d in self.devices
        ]
        return pl.concat(frames)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Send no more; wait `seconds` at most for what is in flight to be acknowledged."""
        self._stop.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.problems.append(f"messages still unacknowledged {seconds:.0f} s after the last was sent")
            self._abandon.set()
            self._thread.join(10)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except* HeadraceError as errors:
            self.problems += [str(e) for e in errors.exceptions]
        except* Exception as errors:  # noqa: BLE001 - a fleet that ended on its way proves nothing
            self.problems += [f"the fleet itself: {e!r}" for e in errors.exceptions]

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._publish(device)) for device in self.devices]
            while not all(t.done() for t in tasks):
                if self._abandon.is_set():
                    for task in tasks:
                        task.cancel()
                    return
                await asyncio.sleep(0.1)

    async def _publish(self, device: Device) -> None:
        async with self._publisher(device) as publisher:
            begun, taken = time.monotonic(), 0.0
            while not self._stop.is_set():
                share = self.rate / self.shape.devices
                now = time.monotonic() - begun
                due = min((now - taken) * share, BEHIND * share)
                for _ in range(int(due)):
                    await self._send(publisher, device)
                if int(due):
                    taken = now - (due - int(due)) / share
                await asyncio.sleep(TICK)
            await self._send(publisher, device)  # a new reading must pass, whatever happened before

    def _publisher(self, device: Device) -> Publisher | Poster:
        if self.shape.http:
            return Poster(
                self._ingest, device.id, self._passwords[device.id], window=self.shape.window, patience=PATIENCE,
                heard=self._heard,
            )  # fmt: skip
        return Publisher(
            self._mqtt.as_device(device.id, self._passwords[device.id]),
            device.id,
            window=self.shape.window,
            patience=PATIENCE,
            version=4 if device.number % 2 and not self.shape.receipts else 5,
            receipts=self.shape.receipts,
            heard=self._heard,
        )

    async def _send(self, publisher: Publisher | Poster, device: Device) -> None:
        sequence = len(device.times)
        micros = time.time_ns() // 1000
        if sequence and micros <= device.times[-1]:
            micros = device.times[-1] + 1
        what = readings.kind(sequence, device.number, self.shape.poison, self.shape.bulky)
        data = readings.payload(what, self.boot, device.number, sequence, micros)
        topic = readings.topic(device.id)
        device.times.append(micros)
        device.kinds.append(what)
        device.acked.append(0)
        self._under_way.setdefault((topic, data if len(data) < 1000 else data[:400]), []).append((device, sequence))
        await publisher.send(topic, data)

    def _heard(self, topic: str, data: bytes) -> None:
        key = (topic, data if len(data) < 1000 else data[:400])
        waiting = self._under_way.get(key)
        if waiting:
            device, sequence = waiting.pop(0)
            device.acked[sequence] = 1
            if not waiting:
                del self._under_way[key]


@contextmanager
def publishing(cfg: Config, boot: str, shape: Shape) -> Iterator[Fleet]:
    """A fleet that publishes for as long as the block lasts; it is stopped in any case."""
    fleet = Fleet(cfg, boot, shape)
    fleet.start()
    try:
        yield fleet
    finally:
        fleet.stop(30)


def letter_ids(sent: pl.DataFrame, boot: str) -> pl.Series:
    """For each row of `sent`: the event id that its dead letter has, if it became one."""
    out = []
    for device, device_id, sequence, micros, what in sent.select(
        "device", "device_id", "sequence", "event_time", "kind"
    ).iter_rows():
        data = readings.payload(Kind(what), boot, device, sequence, micros)
        out.append(readings.letter_id(readings.topic(device_id), data))
    return pl.Series("letter_id", out, dtype=pl.Binary)
