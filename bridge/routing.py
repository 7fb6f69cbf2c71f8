"""From the configuration to MQTT subscriptions, and from a topic to the streams that its messages go to. Pure.

Every subscription carries an identifier, which the broker puts on the messages it sends because of it. Where filters
overlap, a broker may send a message once for each: a copy goes only to the routes of its own subscription, so that no
stream gets two. The identifier is a hash of the filter: a message that waited in the session while the configuration
changed is not taken for another's.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple
from zlib import crc32

from headrace import filters, receipts, sharing
from headrace.config import Config
from headrace.errors import ConfigError, PoisonError, Reason
from headrace.filters import Filter
from headrace.mqtt import MAX_SUBSCRIPTION_ID, Subscription
from headrace.names import is_device_id


class Route(NamedTuple):
    """A filter that feeds a stream, with the subscription that brings its messages."""

    stream: str
    filter: Filter
    unknown_fields: Literal["reject", "ignore"]
    subscription: int
    where: str  # its key in the configuration
    receipt: str  # template of the topic that is told of each message; empty: none


class Plan(NamedTuple):
    """What to subscribe to, what not, and where messages go. A shared group's name is in the filters of the broker."""

    routes: tuple[Route, ...]
    subscriptions: tuple[Subscription, ...]
    unwanted: tuple[str, ...]  # what an earlier configuration may have subscribed to, and brings copies
    filters: tuple[tuple[int, Filter], ...]  # of the subscriptions


class Target(NamedTuple):
    """A stream that a topic's messages go to, or, with `refused`, would go to but for a name in the topic."""

    route: Route
    captures: dict[str, str]
    refused: PoisonError | None


class Match(NamedTuple):
    """All that the plan says about a topic."""

    targets: tuple[Target, ...]
    copies: bool  # whether the broker may send a message once for each of several subscriptions


def takes(route: Route, identifiers: Iterable[int], known: frozenset[int]) -> bool:
    """Whether the copy of a message that carries these subscription identifiers is the one for `route`.

    A copy with none of the `known` ones is of an earlier configuration's subscription: it is for every route.
    """
    mine = known.intersection(identifiers)
    return not mine or route.subscription in mine


def plan(config: Config) -> Plan:
    """The subscriptions and routes of a configuration.

    ConfigError for a filter that is none, where two routes would bring a message into one stream twice, and where
    receipts would go astray.
    """
    routes = [
        (name, filters.parse(route.filter, where := f"streams.{name}.routes[{i}].filter"), route, where)
        for name, stream in config.streams.items()
        for i, route in enumerate(stream.routes)
    ]
    unrouted = [
        filters.parse(text, f"bridge.unrouted[{i}]", captures=False) for i, text in enumerate(config.bridge.unrouted)
    ]
    if not routes and not unrouted:
        raise ConfigError("streams: no stream has a route, so the bridge has nothing to read. Add routes to a stream")
    for i, (stream, one, _, where) in enumerate(routes):
        for other_stream, other, _, other_where in routes[:i]:
            if stream == other_stream and filters.overlap(one, other):
                raise ConfigError(
                    f"{where}: {one.text} overlaps {other.text} ({other_where}): "
                    f"a message of both would be in {stream} twice. Narrow one of them, or remove it"
                )
    if problems := [*receipts.problems(config), *sharing.problems(config)]:
        raise ConfigError("\n".join(problems))
    wanted: dict[str, Filter] = {}
    for f in [*unrouted, *(r[1] for r in routes)]:
        wanted.setdefault(f.pattern, f)
    widest = [f for p, f in wanted.items() if not any(filters.covers(o, f) for q, o in wanted.items() if q != p)]
    numbers = _identifiers(f.pattern for f in widest)
    group = config.bridge.shared_group
    covered = [p for p in wanted if p not in numbers]
    return Plan(
        routes=tuple(
            Route(
                stream=stream,
                filter=f,
                unknown_fields=route.unknown_fields,
                subscription=next(numbers[w.pattern] for w in widest if filters.covers(w, f)),
                where=where,
                receipt=route.receipt,
            )
            for stream, f, route, where in routes
        ),
        subscriptions=tuple(Subscription(sharing.shared(group, pattern), n) for pattern, n in numbers.items()),
        unwanted=(*(sharing.shared(group, p) for p in covered), *(wanted if group else ())),
        filters=tuple((numbers[f.pattern], f) for f in widest),
    )


def match(plan: Plan, topic: str) -> Match:
    """Where the messages of a topic go; no targets where no route's filter matches."""
    targets = []
    for route in plan.routes:
        if route.filter.matches(topic):
            captures = route.filter.values(topic)
            targets.append(Target(route, captures, _refusal(captures)))
    return Match(tuple(targets), sum(f.matches(topic) for _, f in plan.filters) > 1)


def _refusal(captures: dict[str, str]) -> PoisonError | None:
    for name, value in captures.items():
        if not is_device_id(value):
            what = f"{name}: the topic's level {value[:80]!r} is not 1 to 64 letters, digits, underscores and hyphens"
            return PoisonError(Reason.BAD_NAME, what, field=name, value=value)
    return None


def _identifiers(patterns: Iterable[str]) -> dict[str, int]:
    out: dict[str, int] = {}
    for pattern in patterns:
        number = crc32(pattern.encode()) % MAX_SUBSCRIPTION_ID + 1
        while number in out.values():
            number = number % MAX_SUBSCRIPTION_ID + 1
        out[pattern] = number
    return out
