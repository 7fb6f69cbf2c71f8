"""Delivery receipts: the topics that they may go to.

The topic comes from a device, so it is no more than a wish: it must lie under the configured prefix, be one that no
broker hangs up on, and none that the bridge itself reads.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from headrace import filters
from headrace.config import Config
from headrace.errors import ConfigError
from headrace.filters import Filter

MAX_TOPIC = 200  # bytes
MAX_CORRELATION = 256  # bytes of MQTT 5 correlation data
# Up to eight levels: AWS IoT Core ends the connection of a client that publishes to more.
_TOPIC = re.compile(r"[A-Za-z0-9_.:@~-]+(/[A-Za-z0-9_.:@~-]+){0,7}\Z")
_CAPTURE = re.compile(r"\{([^{}/]*)\}")
_LONGEST = "x" * 64  # a device id, as a capture may hold it


def allowed(topic: str, prefix: str) -> bool:
    """Whether a receipt may be published to `topic`, unless the bridge reads it. An empty prefix allows none."""
    return bool(prefix) and len(topic) <= MAX_TOPIC and topic.startswith(prefix) and _TOPIC.match(topic) is not None


def fill(template: str, captures: Mapping[str, str]) -> str:
    """A route's receipt topic, `receipts/{device_id}`, for a message whose topic had these captures (checked ones)."""
    return _CAPTURE.sub(lambda found: captures[found[1]], template)


def problems(config: Config) -> Iterator[str]:
    """In words, what is wrong with the receipts of a configuration. Filters that are none are passed over."""
    prefix = config.bridge.receipts
    routes = [
        (f"streams.{name}.routes[{i}]", route.filter, route.receipt)
        for name, stream in config.streams.items()
        for i, route in enumerate(stream.routes)
    ]
    unrouted = [(f"bridge.unrouted[{i}]", text, "") for i, text in enumerate(config.bridge.unrouted)]
    read: list[tuple[str, Filter, str]] = []
    for where, text, receipt in [*routes, *unrouted]:
        with suppress(ConfigError):
            read.append((where, filters.parse(text, where), receipt))
    for where, found, receipt in read:
        if prefix and filters.covers(found, filters.parse(f"{prefix}#", "bridge.receipts")):
            yield (
                f"{where}: {found.text} would read the bridge's own receipts, which go to {prefix}... Narrow the "
                "filter, or choose another prefix in bridge.receipts, or set it to '' for no receipts"
            )
        elif receipt:
            try:
                _check(receipt, f"{where}.receipt", found.captures, prefix, [f for _, f, _ in read])
            except ConfigError as e:
                yield str(e)


def _check(template: str, where: str, captures: Mapping[str, int], prefix: str, read: Iterable[Filter]) -> None:
    """ConfigError where a route with these captures can't have its receipts sent to `template`."""
    if not prefix:
        raise ConfigError(f"{where}: no receipts are sent while bridge.receipts is empty")
    parsed = filters.parse(template, where)
    if unknown := parsed.captures.keys() - captures:
        raise ConfigError(f"{where}: {template}: the route's filter does not capture {', '.join(sorted(unknown))}")
    if not allowed(fill(template, dict.fromkeys(captures, _LONGEST)), prefix):
        raise ConfigError(
            f"{where}: {template}: it must begin with {prefix} (bridge.receipts) and have up to 8 levels of letters, "
            f"digits and _.:@~-, {MAX_TOPIC} bytes in all with captures of 64"
        )
    for other in read:
        if filters.overlap(parsed, other):
            raise ConfigError(f"{where}: {template}: the bridge would read it back with the filter {other.text}")
