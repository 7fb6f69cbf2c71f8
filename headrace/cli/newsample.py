"""What `headrace contracts new` makes a contract of: messages read from files, or heard by MQTT."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.cli import context
from headrace.cli.output import progress, say
from headrace.contracts import heard
from headrace.contracts.heard import Message
from headrace.contracts.onevalue import FIELD
from headrace.contracts.sample import MAX_BYTES, Sample, read_sample, together
from headrace.contracts.topics import with_device
from headrace.errors import ConfigError
from headrace.protocol import filters
from headrace.protocol.names import DEVICE

_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Taken:
    """A sample, the topic with its captures, and the messages that the sample has, where their topics are known."""

    sample: Sample
    topic: str
    messages: tuple[Message, ...] = ()


def read(paths: Sequence[Path], topic: str) -> Taken:
    """The messages in files: of those with a topic before each, the ones that `topic` matches."""
    parsed = filters.parse(topic, "--topic")
    data = [(path, _bytes(path)) for path in paths]
    found = [(path, heard.messages_of(content)) for path, content in data]
    if not any(messages for _, messages in found):
        if FIELD in parsed.captures:
            raise ConfigError(
                f"--topic {topic}: {{{FIELD}}} is for plain values. A sample of them has the topic before each, as "
                "mosquitto_sub -v prints it"
            )
        return Taken(together([read_sample(content, called(path)) for path, content in data]), topic)
    if plain := next((path for path, messages in found if not messages), None):
        raise ConfigError(f"--from {plain}: no topics before its messages, as another sample has. Give them one by one")
    return _fitting([m for _, messages in found for m in messages], topic, f"--from {', '.join(map(str, paths))}")


def listen(wanted: str, topic: str, how_long: str, most: int) -> Taken:
    """What came by MQTT, with a topic that says which level is the device."""
    from headrace.operate.listen import Heard
    from headrace.operate.listen import listen as hear

    broker = context.config().mqtt
    pattern = filters.parse(wanted, "--listen").pattern
    seconds = _seconds(how_long)
    came: list[Heard] = []
    try:
        with progress("messages") as bar:
            task = bar.add_task(f"listening to {pattern}", total=most, count=0)
            tell = lambda count: bar.update(task, completed=count, count=count)  # noqa: E731
            asyncio.run(hear(broker, pattern, seconds, most, came, tell))
    except KeyboardInterrupt:
        say(f"stopped: {len(came)} messages came")
    if not came:
        raise ConfigError(
            f"--listen {wanted}: nothing came within {how_long}. A broker lets a device publish only where it may: "
            "with the stack's own, that is where a route is, or bridge.unrouted"
        )
    messages = [Message(*one) for one in came]
    return _fitting(
        messages, topic or with_device(wanted, [m.topic for m in messages], "--listen"), f"--listen {wanted}"
    )


def _fitting(messages: Sequence[Message], topic: str, where: str) -> Taken:
    parsed = filters.parse(topic, "--topic")
    fitting = [m for m in messages if parsed.matches(m.topic)]
    if not fitting:
        raise ConfigError(f"--topic {topic}: no message came on such a topic, but on {messages[0].topic}. Correct it")
    if FIELD in parsed.captures:
        sample = heard.values(fitting, parsed)
        if not sample.readings:
            raise ConfigError(f"{where}: no message has a value")
    else:
        try:
            sample, left = heard.objects(fitting)
        except ConfigError as e:
            raise ConfigError(
                f"{where}: no message has a JSON object: {e}\nFor plain values, such as 21.5, write {{{FIELD}}} for "
                "the level of the topic that says what was measured"
            ) from None
        for line in left:
            say(f"left out: {line}")
    levels = [parsed.values(m.topic) for m in fitting]
    devices = dict.fromkeys(at[DEVICE] for at in levels if DEVICE in at)
    by = f" of {_count(len(devices), 'device')}" if devices else ""
    say(f"{_count(len(sample.readings), 'message')}{by} came on {topic}")
    return Taken(sample, topic, tuple(fitting))


def called(path: Path) -> str:
    """A file as a person calls it."""
    return "standard input" if path == Path("-") else str(path)


def _bytes(path: Path) -> bytes:
    try:
        if path == Path("-"):
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"--from {path}: {e.strerror}") from None


def _seconds(text: str) -> float:
    try:
        number = float(text[:-1]) * _UNITS[text[-1]]
    except (ValueError, KeyError, IndexError):
        number = 0.0
    if not 0 < number < 7 * 86_400:
        raise ConfigError(f"--for {text}: write 60s, 10m or 2h")
    return number


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
