"""The work of `headrace contracts new`: a sample read or listened to, files written, and what became of each key."""

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import typer

from headrace.cli import context, newroute, newtable, newversion
from headrace.cli.newnext import Sent, next_steps, steps_again
from headrace.cli.output import progress, say
from headrace.config.load import read_yaml
from headrace.contracts import files, write
from headrace.contracts.captures import filling
from headrace.contracts.infer import infer
from headrace.contracts.sample import MAX_BYTES, Sample, read_sample, together
from headrace.contracts.topics import with_device
from headrace.errors import ConfigError
from headrace.protocol import filters
from headrace.protocol.names import DEVICE, check_stream

CONFIG, FOLDER = "my.yaml", "contracts"
GATEWAY = "gateway"  # a capture of this name says who publishes
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Wish:
    """The options of the command, as given."""

    samples: tuple[Path, ...] = ()
    topic: str = ""
    listen: str = ""
    listen_for: str = "60s"
    most: int = 1000
    name: str = ""
    out: Path = field(default_factory=Path)
    force: bool = False


def make(wish: Wish) -> None:
    """Write the contract and, where there is none yet, the configuration; print what to do next."""
    if bool(wish.samples) == bool(wish.listen):
        raise ConfigError("give a sample with --from, or a topic to listen to with --listen")
    sample, wish, devices = _heard(wish) if wish.listen else (_read(wish.samples), wish, [])
    topic = filters.parse(wish.topic, "--topic")
    if DEVICE not in topic.captures:
        raise ConfigError(
            f"--topic {wish.topic or '(none)'}: it must say which device publishes there. Write {{device_id}} for that "
            "level, as in plant/{device_id}/pump; or write the route of a gateway by hand (bridge/README.md)"
        )
    name = _name(wish)
    identity = GATEWAY if GATEWAY in topic.captures else DEVICE
    captured = filling(topic.captures, "json", identity)
    draft = infer(name, sample.readings, captured, _where(wish))
    way = newroute.way(wish.topic, draft, identity, sample, devices)
    contract = wish.out / FOLDER / f"{name}{files.SUFFIX}"
    config = wish.out / CONFIG
    before = files.read(contract) if contract.exists() else None
    if before is not None:
        draft = newversion.next_of(before, draft, sample, captured, contract, force=wish.force)
    fresh = not config.exists()
    used = not fresh and name in (read_yaml(config).get("streams") or {})
    try:
        contract.parent.mkdir(parents=True, exist_ok=True)
        contract.write_text(draft.contract.text, encoding="utf-8")
        if fresh:
            config.write_text(write.config_yaml(name, way, FOLDER), encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{e.filename}: {e.strerror}. Choose another folder with --out") from None
    typer.echo(contract)
    if fresh:
        typer.echo(config)
    if before is None:
        newtable.explain(draft, sample, contract)
    if used and before is not None and context.config_file() is None:
        if draft.contract.text != before.text:
            say(steps_again(context.state(), name))
        return
    if not fresh and not used:
        say(f"\n{config} exists and stays as it is. Make sure that it has:\n")
        say(write.config_yaml(name, way, FOLDER).partition("\n")[2].rstrip())
    called = way.keys.get("device") == {"names": "mac"} and newroute.address(sample)
    sent = Sent(wish.samples[0] if wish.samples else None, topic, identity, sample, called or "")
    say(next_steps(context.state(), context.config_file(), draft, config, wish.out / FOLDER, sent))


def _heard(wish: Wish) -> tuple[Sample, Wish, list[str]]:
    """What came by MQTT, the wish with a topic that says which level is the device, and the devices heard."""
    from headrace.operate.listen import Heard, listen

    broker = context.config().mqtt
    wanted = filters.parse(wish.listen, "--listen")
    seconds = _seconds(wish.listen_for)
    heard: list[Heard] = []
    try:
        with progress("messages") as bar:
            task = bar.add_task(f"listening to {wanted.pattern}", total=wish.most, count=0)
            tell = lambda count: bar.update(task, completed=count, count=count)  # noqa: E731
            asyncio.run(listen(broker, wanted.pattern, seconds, wish.most, heard, tell))
    except KeyboardInterrupt:
        say(f"stopped: {len(heard)} messages came")
    samples = []
    for one in heard:
        try:
            samples.append((one.topic, read_sample(one.payload, one.topic)))
        except ConfigError as e:
            say(f"left out: {e}")
    if not samples:
        raise ConfigError(
            f"--listen {wish.listen}: no JSON object came within {wish.listen_for}. A broker lets a device "
            "publish only where it may: with the stack's own, that is where a route is, or bridge.unrouted"
        )
    topics = [t for t, _ in samples]
    topic = wish.topic or with_device(wish.listen, topics, "--listen")
    parsed = filters.parse(topic, "--topic")
    fitting = [(t, s) for t, s in samples if parsed.matches(t)]
    if not fitting:
        raise ConfigError(f"--topic {topic}: no message came on such a topic, but on {topics[0]}. Correct it")
    devices = list(dict.fromkeys(parsed.values(t).get(DEVICE, "") for t, _ in fitting))
    say(f"{len(fitting)} messages of {len(devices)} devices came on {topic}")
    return together([s for _, s in fitting]), replace(wish, topic=topic), devices


def _seconds(text: str) -> float:
    try:
        number = float(text[:-1]) * _UNITS[text[-1]]
    except (ValueError, KeyError, IndexError):
        number = 0.0
    if not 0 < number < 7 * 86_400:
        raise ConfigError(f"--for {text}: write 60s, 10m or 2h")
    return number


def _name(wish: Wish) -> str:
    if wish.name:
        try:
            return check_stream(wish.name)
        except ValueError as e:
            raise ConfigError(f"--name: {e}") from None
    plain = [level for level in wish.topic.split("/") if level and not set("{}+#") & set(level)]
    name = re.sub(r"[^a-z0-9]+", "_", plain[-1].lower()).strip("_")[:48] if plain else ""
    try:
        return check_stream(name)
    except ValueError:
        raise ConfigError(f"the topic {wish.topic} gives no name for the stream. Give one with --name") from None


def _read(paths: Sequence[Path]) -> Sample:
    return together([read_sample(_bytes(path), _called(path)) for path in paths])


def _bytes(path: Path) -> bytes:
    try:
        if path == Path("-"):
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"--from {path}: {e.strerror}") from None


def _where(wish: Wish) -> str:
    return ", ".join(map(_called, wish.samples)) if wish.samples else f"what came on {wish.listen}"


def _called(path: Path) -> str:
    return "standard input" if path == Path("-") else str(path)
