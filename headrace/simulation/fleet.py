"""A fleet of simulated devices over MQTT: each publishes the readings of a model at its own rate, by its connection."""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from headrace.config import Config
from headrace.errors import ConfigError
from headrace.hub import lending
from headrace.hub.client import Hub
from headrace.protocol.filters import CAPTURE
from headrace.protocol.names import DEVICE, TIME
from headrace.simulation.defects import Defects
from headrace.simulation.device import Publisher, complaints

if TYPE_CHECKING:
    import numpy as np

MODELS = ("imu", "environment", "vibration")


@dataclass(frozen=True)
class Fleet:
    """What is simulated. `rate`: of imu, in Hz. The intervals: of the others, in seconds between messages."""

    streams: tuple[str, ...] = ("imu",)
    devices: int = 5  # of each stream
    rate: float = 50.0
    environment_interval: float = 10.0
    vibration_interval: float = 10.0
    samples: int = 12_000  # of a waveform
    duration: float = 60.0  # seconds of event time; 0 for ever
    seed: int = 1
    start: float = 0.0  # event time of the first reading, seconds since 1970 UTC
    real_time: bool = True  # else as fast as the broker takes it
    defects: bool = False
    receipts: bool = False  # send each message again until its receipt says that Kafka has it


@dataclass
class Tally:
    """What was sent for one stream."""

    readings: int = 0  # made by the model, before defects
    messages: int = 0  # sent, with duplicates and malformed ones
    defects: Counter[str] = field(default_factory=Counter)


@dataclass
class _Device:
    stream: str
    name: str
    topic: str
    interval: float
    readings: Iterator[dict[str, Any]]
    defects: Defects | None
    boot_id: str
    sequence: int = 0

    def due(self) -> float:
        """Seconds of event time from the fleet's start to the next reading."""
        return self.sequence * self.interval


async def run(
    cfg: Config,
    fleet: Fleet,
    *,
    notify: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Tally]:
    """Simulate the fleet until its duration is over or the task is cancelled. Returns what was sent, by stream.

    Every message counted has been acknowledged by the broker; with receipts, it has its receipt. `progress` gets the
    readings made so far. ConfigError for a stream that is not configured, TransientError when the broker stays away.
    """
    devices = fleet_devices(cfg, fleet)
    tallies = {stream: Tally() for stream in fleet.streams}
    names = [device.name for device in devices]
    # Without a registry they log in as the configuration says.
    passwords: dict[str, str] = {}
    if cfg.hub.token is not None:
        passwords = await asyncio.to_thread(lending.passwords, Hub(cfg.hub), names)
    async with AsyncExitStack() as stack:
        publishers = [
            await stack.enter_async_context(
                Publisher(
                    cfg.mqtt.as_device(device.name, passwords[device.name]) if passwords else cfg.mqtt,
                    device.name,
                    notify=notify,
                    receipts=fleet.receipts,
                    prefix=cfg.bridge.receipts,
                )
            )
            for device in devices
        ]
        try:
            await _play(fleet, devices, publishers, tallies, progress)
        except asyncio.CancelledError:
            notify("stopping")
        for publisher in publishers:
            await publisher.drain()
        for words in complaints(
            sum(p.unheard for p in publishers), sum((Counter(p.refused) for p in publishers), Counter[int]())
        ):
            notify(words)
        for device in devices:
            if device.defects is not None:
                device.defects.finish()
                tallies[device.stream].defects += device.defects.counts
    return tallies


async def _play(
    fleet: Fleet,
    devices: Sequence[_Device],
    publishers: Sequence[Publisher],
    tallies: dict[str, Tally],
    progress: Callable[[int], None],
) -> None:
    origin = time.monotonic()
    queue = [(device.due(), i) for i, device in enumerate(devices)]
    heapq.heapify(queue)
    made = 0
    while queue:
        due, i = heapq.heappop(queue)
        if fleet.duration and due >= fleet.duration:
            continue
        if fleet.real_time and (ahead := origin + due - time.monotonic()) > 0:
            progress(made)
            await asyncio.sleep(ahead)
        device, tally = devices[i], tallies[devices[i].stream]
        for payload in _payloads(device, fleet):
            await publishers[i].send(device.topic, payload)
            tally.messages += 1
        tally.readings += 1
        made += 1
        heapq.heappush(queue, (device.due(), i))
    progress(made)


def _payloads(device: _Device, fleet: Fleet) -> list[bytes]:
    when = round((fleet.start + device.due()) * 1_000_000)
    reading = {TIME: when, **next(device.readings), "sequence": device.sequence, "boot_id": device.boot_id}
    device.sequence += 1
    return [orjson.dumps(reading)] if device.defects is None else device.defects.apply(reading)


def fleet_devices(cfg: Config, fleet: Fleet) -> list[_Device]:
    """The devices of a fleet. Each has its own random numbers, so that one more device does not change the others."""
    import numpy as np

    out = []
    for stream in fleet.streams:
        interval = _interval(stream, fleet)
        topic = _topic(cfg, stream)
        for number in range(1, fleet.devices + 1):
            # Random numbers of their own for the model and for the defects, so that defects change no other value.
            seeds = np.random.SeedSequence([fleet.seed, MODELS.index(stream), number]).spawn(2)
            name = f"sim-{stream}-{number:03d}"
            boot = np.random.default_rng([fleet.seed, number, round(fleet.start * 1000)]).bytes(4).hex()
            readings = _model(stream, fleet, interval, np.random.default_rng(seeds[0]))
            defects = Defects(stream, np.random.default_rng(seeds[1])) if fleet.defects else None
            out.append(_Device(stream, name, topic.replace(f"{{{DEVICE}}}", name), interval, readings, defects, boot))
    return out


def readings_of(fleet: Fleet) -> int:
    """How many readings the models will make in all; 0 when the duration has no end."""
    if not fleet.duration:
        return 0
    each = (-(-fleet.duration // _interval(stream, fleet)) for stream in fleet.streams)
    return int(sum(each)) * fleet.devices


def _interval(stream: str, fleet: Fleet) -> float:
    known = {"imu": 1 / fleet.rate, "environment": fleet.environment_interval, "vibration": fleet.vibration_interval}
    if stream not in known:
        raise ConfigError(f"no model of a stream {stream!r}; there are: {', '.join(MODELS)}")
    return known[stream]


def _model(stream: str, fleet: Fleet, interval: float, rng: "np.random.Generator") -> Iterator[dict[str, Any]]:
    if stream == "imu":
        from headrace.simulation.models.motion import motion

        return motion(rng, fleet.rate)
    if stream == "environment":
        from headrace.simulation.models.day import day

        return day(rng, fleet.start, interval)
    from headrace.simulation.models.bearing import bearing

    return bearing(rng, int((fleet.duration or 3600.0) / interval), fleet.samples)


def _topic(cfg: Config, stream: str) -> str:
    route = cfg.streams[stream].json_route if stream in cfg.streams else None
    if route is None:
        raise ConfigError(
            f"no stream {stream} with a route for JSON in the configuration: no bridge would take readings"
        )
    topic = route.filter
    others = [name for name in CAPTURE.findall(topic) if name != DEVICE]
    if others or f"{{{DEVICE}}}" not in topic or set(topic) & set("+#"):
        raise ConfigError(
            f"the route {topic} of {stream} can't be simulated: it must have {{device_id}}, no other field, no wildcard"
        )
    return topic
