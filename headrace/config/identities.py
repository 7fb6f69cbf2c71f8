"""Which level of an MQTT topic says who published it: a device, or a gateway for its devices.

The broker compares that level with the MQTT username, so a device writes only under its own name. The bridge sends
receipts only to the identity that the message's topic has.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from headrace.config import syncs
from headrace.config.model import Config
from headrace.config.route import Route
from headrace.errors import ConfigError
from headrace.protocol import filters, sparkplug
from headrace.protocol.filters import Filter
from headrace.protocol.names import DEVICE


class Spoken(NamedTuple):
    """A filter, and the index of the level that has the identity in the topics that it matches.

    `gateway`: that of a gateway, which publishes for other devices there; a device may not.
    """

    filter: Filter
    level: int
    gateway: bool = False

    def identity(self, topic: str) -> str:
        """Who published a message with this topic, which matches the filter."""
        return topic.split("/")[self.level]


def routed(config: Config) -> Iterator[Spoken]:
    """The filters of each route with an identity, which is each one where headrace.config.check finds no problem."""
    for name, stream in config.streams.items():
        for i, route in enumerate(stream.routes):
            found = filters.parse(route.filter, f"streams.{name}.routes[{i}].filter")
            if route.identity in found.captures:
                yield Spoken(found, found.captures[route.identity], route.identity != DEVICE)
    for it in syncs.of(config):
        if it.route.identity in it.filter.captures:
            yield Spoken(it.filter, it.filter.captures[it.route.identity], it.route.identity != DEVICE)


def unrouted(config: Config) -> list[Spoken]:
    """What lies under an identity, `sensors/+/#`, where `bridge.unrouted` reads it: there mistyped topics arrive.

    None where a route has the identity at another level: one could speak for another there. For gateways alone where a
    route of theirs is among it.
    """
    routes = list(routed(config))
    read = [
        filters.parse(text, f"bridge.unrouted[{i}]", captures=False) for i, text in enumerate(config.bridge.unrouted)
    ]
    found: dict[str, Spoken] = {}
    for route in routes:
        pattern = "/".join([*route.filter.levels[: route.level], "+", "#"])
        under = Spoken(filters.parse(pattern, "bridge.unrouted"), route.level)
        if any(filters.covers(f, under.filter) for f in read) and not any(
            r.level != route.level and filters.overlap(r.filter, under.filter) for r in routes
        ):
            gateways = any(r.gateway and filters.overlap(r.filter, under.filter) for r in routes)
            found.setdefault(pattern, under._replace(gateway=gateways))
    return list(found.values())


def heard(config: Config) -> Iterator[Spoken]:
    """All that those edge nodes of Sparkplug publish from whose births the bridge learns; it reads this beside routes.

    Skips filters that can't be read.
    """
    for name, stream in config.streams.items():
        for i, route in enumerate(stream.routes):
            with suppress(ConfigError):
                one = heard_by(route, filters.parse(route.filter, f"streams.{name}.routes[{i}].filter"))
                if one is not None:
                    yield one


def heard_by(route: Route, found: Filter) -> Spoken | None:
    """The same for one route, with its filter; None where it does not learn."""
    whole = sparkplug.whole(found) if route.learns else None
    level = found.captures.get(route.identity, sparkplug.NODE + 1)
    return Spoken(whole, level, route.identity != DEVICE) if whole is not None and level <= sparkplug.NODE else None


def filters_of(config: Config) -> Iterator[str]:
    """The filters, as MQTT knows them, that a bridge subscribes to, and those that others cover. Skips wrong ones."""
    routes = [route for stream in config.streams.values() for route in stream.routes]
    synced = [route.sync.filter for route in routes if route.sync is not None]
    for text in [*(route.filter for route in routes), *synced, *config.bridge.unrouted]:
        with suppress(ConfigError):
            yield filters.parse(text, "").pattern
    yield from dict.fromkeys(s.filter.pattern for s in heard(config))


def keeping(config: Config) -> Iterator[Filter]:
    """The filters of the routes that want the retained messages of the broker (`retained: keep`), and of syncs."""
    for it in syncs.of(config):
        yield it.filter
    for name, stream in config.streams.items():
        for i, route in enumerate(stream.routes):
            if route.retained == "keep":
                yield filters.parse(route.filter, f"streams.{name}.routes[{i}].filter")


def is_writable(found: Filter) -> bool:
    """Whether a Mosquitto access file can have the filter: it fills in %u and %c, and strips spaces."""
    text = found.pattern
    return text.isprintable() and text == text.strip() and "%u" not in text and "%c" not in text
