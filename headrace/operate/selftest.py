"""Sends one reading over MQTT and looks for its row in the lake: does an installation work from end to end?"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from headrace.config import Config
from headrace.config.route import Route
from headrace.contracts import files
from headrace.contracts.avro import Node
from headrace.contracts.model import Contract, Field
from headrace.contracts.write import example_topic
from headrace.errors import ConfigError, TransientError
from headrace.protocol import filters
from headrace.protocol.devicenames import naming
from headrace.protocol.filters import Filter
from headrace.protocol.names import DEVICE, OURS, TIME
from headrace.simulation.device import Publisher

_PAUSE_SECONDS = 1.0
_CONNECT_SECONDS = 15.0


class Message(NamedTuple):
    """What is published: by which device, on which topic."""

    stream: str
    device: str
    topic: str
    payload: bytes


class Row(NamedTuple):
    """Where the row came from in Kafka."""

    topic: str
    partition: int
    offset: int


def message(config: Config, stream: str, payload: str = "", now: datetime | None = None) -> Message:
    """A message of a device `selftest-...` for the stream, for its first JSON route, with the time `now` (UTC).

    Where the route wants a MAC address, the device has a random one.
    `payload` is a JSON object to send instead of one made from the contract; device and time are put into it.
    ConfigError when the stream has no route, or the contract has a field for which no value can be made up.
    """
    if stream not in config.streams:
        raise ConfigError(f"no stream {stream!r}; there are: {', '.join(config.streams) or 'none'}")
    given = config.streams[stream].json_route
    if given is None:
        raise ConfigError(
            f"streams.{stream}: no route for JSON with the contract's own keys (without fields, explode, device.path "
            "and compression), so no reading can be sent to it. Add one, or name another"
        )
    route = filters.parse(given.filter, f"streams.{stream}.routes")
    name = secrets.token_hex(6) if given.device.names == "mac" else f"selftest-{secrets.token_hex(4)}"
    device, topic = _named(given, route, name)
    contract = files.find(config.contract_of(stream), config.contracts)
    reading = _object(payload) if payload else _reading(contract)
    # A capture fills its field from the topic; another value in the payload would contradict it.
    reading = {k: v for k, v in reading.items() if k not in route.captures}
    if not payload and not reading.keys() - {DEVICE}:
        reading |= _one_more(contract, {DEVICE, *route.captures})
    if DEVICE not in route.captures and not given.device.topic:
        reading[DEVICE] = name
    reading[TIME] = (now or datetime.now(UTC)).isoformat(timespec="microseconds")
    return Message(stream, device, topic, orjson.dumps(reading))


def _named(given: Route, route: Filter, name: str) -> tuple[str, str]:
    """(the id, a topic) of a device of a route that is called `name`, in the topic if that says it."""
    topic, whole = example_topic(route, name), name
    if join := given.joins(route.captures, "the route").get(DEVICE):
        levels = topic.split("/")
        levels[route.captures[join.names[-1]]] = name
        topic = "/".join(levels)
        whole = join.of(route.values(topic))
    return naming(given.device.names)(whole), topic


def run(config: Config, sent: Message, seconds: float, notify: Callable[[str], None] = lambda _: None) -> Row:
    """Publish the message and wait for its row, `seconds` at most. TransientError when no row comes.

    While the broker has no subscriber for the topic, the message is published again: a copy has the same event id.
    """
    end = time.monotonic() + seconds
    asyncio.run(_publish(config, sent, end, notify))
    while True:
        try:
            row = find(config, sent)
        except TransientError as e:
            row = None
            if time.monotonic() > end:
                raise
            notify(str(e))
        if row is not None:
            return row
        if time.monotonic() > end:
            raise TransientError(
                f"no row of {sent.device} in {sent.stream} after {seconds:g} s. The archive stores after "
                f"archive.idle_seconds ({config.archive.idle_seconds:g}). See `headrace dlq list` for a dead letter, "
                "and /readyz of each service for what it waits for"
            )
        time.sleep(_PAUSE_SECONDS)


def find(config: Config, sent: Message) -> Row | None:
    """The row of the message in the lake, or None. TransientError while the store is away."""
    from headrace.lake import remote, sql

    text = (
        f'select _topic, _partition, _offset from "{sent.stream}" '  # noqa: S608 - the stream's name is checked
        f"where date >= current_date - 1 and device_id = {remote.literal(sent.device)}"
    )
    with sql.connect(config, text) as lake, sql.explained(config):
        found = sql.run(lake, text).fetchone()
    return None if found is None else Row(*found)


async def _publish(config: Config, sent: Message, end: float, notify: Callable[[str], None]) -> None:
    patience = max(1.0, min(_CONNECT_SECONDS, end - time.monotonic()))
    async with Publisher(config.mqtt, sent.device, patience=patience, notify=notify) as device:
        told = False
        while True:
            before = device.unheard
            await device.send(sent.topic, sent.payload)
            await device.drain()
            if device.refused:
                codes = ", ".join(f"{code:#04x}" for code in device.refused)
                raise ConfigError(f"the MQTT broker refuses a message of this user on {sent.topic}: reason {codes}")
            if device.unheard == before:
                return
            if time.monotonic() > end:
                raise TransientError(f"the MQTT broker has no subscriber for {sent.topic}: is the bridge running?")
            if not told:
                notify(f"no client has subscribed to {sent.topic} yet: waiting for the bridge")
                told = True
            await asyncio.sleep(_PAUSE_SECONDS)


def _object(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except ValueError as e:
        raise ConfigError(f"--payload: not JSON: {e}") from None
    if not isinstance(found, dict):
        raise ConfigError("--payload: expected a JSON object")
    return found


def _reading(contract: Contract) -> dict[str, Any]:
    """Values that the contract accepts for its required fields."""
    out = {}
    for field in contract.fields:
        if field.name != TIME and not field.nullable:
            out[field.name] = _value(field, field.type, field.name)
    return out


def _one_more(contract: Contract, taken: Collection[str]) -> dict[str, Any]:
    """A value for an optional field: a message needs one of its own. Empty where the contract has no such field."""
    for field in contract.fields:
        if field.name not in {TIME, *OURS, *taken}:
            with suppress(ConfigError):
                return {field.name: _value(field, replace(field.type, nullable=False), field.name)}
    return {}


def _value(field: Field, node: Node, place: str) -> Any:
    """A value of the type `node`, within the bounds of the field."""
    if node.nullable:
        return None
    if node.logical in {"timestamp-micros", "timestamp-millis"}:
        return datetime.now(UTC).isoformat(timespec="milliseconds")
    if node.logical is None:
        match node.kind:
            case "int" | "long" | "float" | "double":
                return _number(field, whole=node.kind in {"int", "long"})
            case "string":
                return "selftest"
            case "boolean":
                return False
            case "enum":
                return node.symbols[0]
            case "array":
                assert node.items is not None
                return [_value(field, node.items, place)]
            case "record":
                return {m.name: _value(field, m.type, f"{place}.{m.name}") for m in node.members}
    raise ConfigError(f"no value can be made up for {place} ({node.logical or node.kind}): give one with --payload")


def _number(field: Field, *, whole: bool) -> float | int:
    """A number within the field's bounds that is not a sentinel."""
    low = field.minimum if field.minimum is not None else (field.maximum or 0.0) - 1
    high = field.maximum if field.maximum is not None else low + 2
    for part in (0.5, 0.4, 0.3, 0.6, 0.7):
        value = low + (high - low) * part
        value = round(value) if whole else value
        if low <= value <= high and value not in field.sentinels:
            return value
    raise ConfigError(f"no value can be made up for {field.name}, between its bounds: give one with --payload")
