"""`headrace simulate`."""

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, progress, say
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.simulation.fleet import Tally


def simulate(  # noqa: PLR0913 - each is an option of the command
    *,
    streams: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Which of imu, environment and vibration; by default those in the configuration.",
            show_default=False,
        ),
    ] = "",
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="Number of devices of each stream.")] = 5,
    rate: Annotated[float, typer.Option(min=0.01, max=10_000, help="Readings a second of an imu device.")] = 50.0,
    environment_interval: Annotated[
        float, typer.Option(min=0.01, help="Seconds between readings of an environment device.")
    ] = 10.0,
    vibration_interval: Annotated[
        float, typer.Option(min=0.01, help="Seconds between waveforms of a vibration device.")
    ] = 10.0,
    samples: Annotated[int, typer.Option(min=16, max=65_536, help="Samples of a waveform, taken at 12 kHz.")] = 12_000,
    duration: Annotated[float, typer.Option(min=0, help="Seconds of event time; 0 runs until Ctrl-C.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same readings.")] = 1,
    start: Annotated[
        str,
        typer.Option(
            metavar="ISO",
            help="Event time of the first reading; by default now, or such that the last one is now.",
            show_default=False,
        ),
    ] = "",
    speed: Annotated[str, typer.Option(metavar="1|max", help="In real time, or as fast as the broker takes it.")] = "1",
    defects: Annotated[
        bool, typer.Option("--defects", help="Inject duplicates, gaps, values out of range, sentinels, broken JSON.")
    ] = False,
    receipts: Annotated[
        bool, typer.Option("--receipts", help="Send each message until a receipt says that Kafka has it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was sent as JSON.")] = False,
) -> None:
    """Simulate a fleet of devices over MQTT: motion, a bearing, a room's climate.

    imu: the wrist of a person who walks, stands and sits. vibration: a motor with a bearing whose outer race begins to
    fail and is badly damaged at the end. environment: an office through the day. Readings carry sequence and boot_id.

    Each device publishes as itself, by a connection of its own: it is in the registry, with the tag `simulated`.

    Prints at the end what was sent, to compare with `headrace verify` and `headrace dlq list`.
    """
    from headrace.simulation.fleet import MODELS, Fleet, readings_of, run

    if speed not in ("1", "max"):
        raise ConfigError(f"--speed {speed}: give 1 or max")
    if speed == "max" and not duration:
        raise ConfigError("--speed max needs a --duration")
    cfg = context.config()
    names = [s.strip() for s in streams.split(",") if s.strip()] or [s for s in MODELS if s in cfg.streams]
    if not names:
        raise ConfigError(f"none of the streams {', '.join(MODELS)} is configured. Add one to `streams`")
    fleet = Fleet(
        streams=tuple(dict.fromkeys(names)),
        devices=devices,
        rate=rate,
        environment_interval=environment_interval,
        vibration_interval=vibration_interval,
        samples=samples,
        duration=duration,
        seed=seed,
        start=_start(start, duration if speed == "max" else 0.0),
        real_time=speed == "1",
        defects=defects,
        receipts=receipts,
    )
    begin = time.monotonic()
    with progress("readings") as bar:
        task = bar.add_task("simulating", total=readings_of(fleet) or None, count=0)
        tallies = asyncio.run(
            run(cfg, fleet, notify=say, progress=lambda made: bar.update(task, completed=made, count=made))
        )
    seconds = time.monotonic() - begin
    for stream, tally in tallies.items():
        _say_tally(stream, tally, seconds, "with a receipt" if receipts else "acknowledged")
    if json:
        import orjson

        data(orjson.dumps({"streams": {s: as_json(s, t) for s, t in tallies.items()}}).decode())


def _start(text: str, back: float) -> float:
    if not text:
        return round(time.time() - back, 3)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--start {text}: write it as 2026-01-31T08:00:00") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def as_json(stream: str, tally: "Tally") -> dict[str, Any]:
    """What was sent, and what should become of it."""
    return {
        "readings": tally.readings,
        "messages": tally.messages,
        "defects": dict(tally.defects),
        "expected": expected(stream, tally),
    }


def expected(stream: str, tally: "Tally") -> dict[str, int]:
    """What should become of the messages with the shipped contracts: environment nulls what the others reject."""
    from headrace.simulation.defects import DUPLICATE, MALFORMED, OUT_OF_RANGE, SENTINEL

    d = tally.defects
    rejected = 0 if stream == "environment" else d[OUT_OF_RANGE]
    dead = d[MALFORMED] + rejected
    return {
        "stored": tally.messages - d[DUPLICATE] - dead,
        "changed": d[SENTINEL] + d[OUT_OF_RANGE] - rejected,
        "repeated": d[DUPLICATE],
        "dead_letters": dead,
    }


def _say_tally(stream: str, tally: "Tally", seconds: float, how: str) -> None:
    rate = tally.messages / seconds if seconds else 0
    say(f"{stream}: sent {tally.messages:,} messages in {seconds:.1f} s ({rate:,.0f}/s), all {how}")
    words = [f"{n:,} {what.replace('_', ' ')}" for what, n in tally.defects.items() if n]
    if words:
        say(f"{stream}: injected {', '.join(words)}")
        e = expected(stream, tally)
        say(
            f"{stream}: so {e['stored']:,} should be stored, {e['changed']:,} of them with a quality note; "
            f"{e['repeated']:,} dropped as repeats, {e['dead_letters']:,} dead letters"
        )
