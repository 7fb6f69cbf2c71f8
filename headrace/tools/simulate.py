"""A fleet of simulated devices over MQTT: each publishes the readings of a model at its own rate."""

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
from headrace.tools.defects import Defects
from headrace.tools.device import Publisher
from headrace.tools.mapping import CAPTURE, DEVICE, TIME

if TYPE_CHECKING:
    import numpy as np

MODELS = ("imu", "environment", "vibration")
_CONNECTIONS = 20  # devices beyond so many share connections


@dataclass(frozen=True)
class Fleet:
    """What is simulated. `rate` is that of imu, in Hz; the intervals, of the others, are seconds between messages."""

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
    receipts: bool = False  # send each message until the bridge has told that Kafka has it


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
    """Simulate the fleet until its duration is over or the task is cancelled; returns what was sent, by stream.

    Every message counted has been acknowledged by the broker, or with receipts told of by the bridge. `progress` gets
    the readings made so far. Raises ConfigError for a stream that isn't configured, TransientError when the broker
    stays away.
    """
    devices = fleet_devices(cfg, fleet)
    tallies = {stream: Tally() for stream in fleet.streams}
    async with AsyncExitStack() as stack:
        publishers = [
            await stack.enter_async_context(
                Publisher(
                    cfg.mqtt,
                    f"headrace-simulate-{device.name}",
                    notify=notify,
                    receipts=fleet.receipts,
                    prefix=cfg.bridge.receipts,
                )
            )
            for device in devices[:_CONNECTIONS]
        ]
        try:
            await _play(fleet, devices, publishers, tallies, progress)
        except asyncio.CancelledError:
            notify("stopping")
        for publisher in publishers:
            await publisher.drain()
        _complain(publishers, notify)
        for device in devices:
            if device.defects is not None:
                device.defects.finish()
                tallies[device.stream].defects += device.defects.counts
    return tallies


def _complain(publishers: Sequence[Publisher], notify: Callable[[str], None]) -> None:
    unheard = sum(p.unheard for p in publishers)
    if unheard:
        notify(f"the broker had no subscriber for {unheard:,} messages, so they are lost: does the bridge run?")
    refused = sum((Counter(p.refused) for p in publishers), Counter[int]())
    for code, n in refused.items():
        notify(f"the broker refused {n:,} messages (MQTT reason code 0x{code:02x})")


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
            await publishers[i % len(publishers)].send(device.topic, payload)
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
    """The devices of a fleet, each with a generator of its own: one more device does not change the others."""
    import numpy as np

    out = []
    for stream in fleet.streams:
        interval = _interval(stream, fleet)
        topic = _topic(cfg, stream)
        for number in range(1, fleet.devices + 1):
            # Independent streams of random numbers: for the model, and for the defects, so that these change no value.
            seeds = np.random.SeedSequence([fleet.seed, MODELS.index(stream), number]).spawn(2)
            name = f"sim-{stream}-{number:03d}"
            boot = np.random.default_rng([fleet.seed, number, round(fleet.start * 1000)]).bytes(4).hex()
            readings = _model(stream, fleet, interval, np.random.default_rng(seeds[0]))
            defects = Defects(stream, np.random.default_rng(seeds[1])) if fleet.defects else None
            out.append(_Device(stream, name, topic.replace(f"{{{DEVICE}}}", name), interval, readings, defects, boot))
    return out


def readings_of(fleet: Fleet) -> int:
    """How many readings the models will make in all; 0 when there is no end."""
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
        from headrace.tools.models.motion import motion

        return motion(rng, fleet.rate)
    if stream == "environment":
        from headrace.tools.models.day import day

        return day(rng, fleet.start, interval)
    from headrace.tools.models.bearing import bearing

    return bearing(rng, int((fleet.duration or 3600.0) / interval), fleet.samples)


def _topic(cfg: Config, stream: str) -> str:
    if stream not in cfg.streams or not cfg.streams[stream].routes:
        raise ConfigError(f"the configuration has no stream {stream} with a route, so nothing would take the readings")
    topic = cfg.streams[stream].routes[0].filter
    others = [name for name in CAPTURE.findall(topic) if name != DEVICE]
    if others or f"{{{DEVICE}}}" not in topic or set(topic) & set("+#"):
        raise ConfigError(f"the route {topic} of {stream} can't be simulated: it must name {{device_id}} and no more")
    return topic
