"""From the configuration to MQTT subscriptions, and from a topic to the streams that its messages go to. No I/O here.

Every subscription carries an identifier, which the broker puts on each message that it sends for that subscription.
Where filters overlap, a broker may send a message once for each of them. Each copy goes only to the routes of its own
subscription, so that no stream gets two. The identifier is a hash of the filter: after a change of the configuration,
a message that waited in the session still carries the identifier of the filter that it came by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

from bridge.starts import Starts
from headrace.config import Config, identities, syncs
from headrace.config import route as configured
from headrace.config.identities import Spoken
from headrace.config.sync import Sync
from headrace.contracts import captures
from headrace.errors import PoisonError, Reason
from headrace.mqtt import MAX_SUBSCRIPTION_ID, Subscription
from headrace.protocol import filters, sharing
from headrace.protocol.devicenames import Naming, naming
from headrace.protocol.filters import Filter
from headrace.protocol.filtertree import FilterTree
from headrace.protocol.joins import Join
from headrace.protocol.names import ALPHABET, DEVICE, is_device_id


class Route(NamedTuple):
    """A filter that feeds a stream, with the subscription that brings its messages."""

    stream: str
    filter: Filter
    subscription: int
    where: str  # its key in the configuration
    fills: tuple[str, ...]  # the fields that its topics fill
    joins: Mapping[str, Join]  # those of them that are joined of captures
    name: Naming  # what makes the ids of its devices
    options: configured.Route  # all that the configuration says of it
    starts: Starts | None = None  # when devices were started, where times count from that
    sync: Sync | None = None  # of a route that brings no readings, but sync messages for `starts`


class Target(NamedTuple):
    """A stream that a topic's messages go to. `refused`: why they become dead letters, for a bad name in the topic."""

    route: Route
    levels: dict[str, str]  # of the topic, by the names that the filter gives them
    captures: dict[str, str]  # these, with what becomes of them: the device's id, and what is joined
    refused: PoisonError | None


class Match(NamedTuple):
    """Where the messages of a topic go."""

    targets: tuple[Target, ...]
    copies: bool  # whether the broker may send a message once for each of several subscriptions
    identity: str  # who published, as the topic says; empty where it does not say so in a valid name
    heard: bool  # whether what edge nodes of Sparkplug say there is learnt


@dataclass(frozen=True)
class Routing:
    """What to subscribe to, what to unsubscribe from, and where messages go."""

    routes: tuple[Route, ...]
    subscriptions: tuple[Subscription, ...]  # with the name of the shared group in their filters, where there is one
    unwanted: tuple[str, ...]  # filters that an earlier configuration may have subscribed to: they would bring copies
    filters: tuple[tuple[int, Filter], ...]  # of the subscriptions, by identifier
    spoken: tuple[Spoken, ...]  # which levels of topics say who published; where two match they say the same
    heard: tuple[Filter, ...] = ()  # all that edge nodes of Sparkplug publish from whose births is learnt

    def match(self, topic: str) -> Match:
        """Where the messages of a topic go; no targets when no route's filter matches."""
        routes, filters, spoken, heard = self._trees
        said = spoken.matching(topic)
        identity = said[0].identity(topic) if said else ""
        return Match(
            targets=tuple(_target(route, route.filter.values(topic)) for route in routes.matching(topic)),
            copies=len(filters.matching(topic)) > 1,
            identity=identity if is_device_id(identity) else "",
            heard=bool(heard.matching(topic)),
        )

    @cached_property
    def _trees(self) -> tuple[FilterTree[Route], FilterTree[int], FilterTree[Spoken], FilterTree[Filter]]:
        return (
            FilterTree((r.filter, r) for r in self.routes),
            FilterTree((f, number) for number, f in self.filters),
            FilterTree((s.filter, s) for s in self.spoken),
            FilterTree((f, f) for f in self.heard),
        )


def takes(subscription: int, identifiers: Iterable[int], known: frozenset[int]) -> bool:
    """Whether the copy of a message that carries these `identifiers` is the one for a route of `subscription`.

    A copy with none of the `known` ones is of an earlier configuration's subscription: it is for every route.
    """
    mine = known.intersection(identifiers)
    return not mine or subscription in mine


def build(config: Config) -> Routing:
    """The subscriptions and routes of a configuration in which headrace.config.check finds no problem."""
    routes = [
        (
            name,
            f := filters.parse(route.filter, where := f"streams.{name}.routes[{i}].filter"),
            route,
            where,
            route.joins(f.captures, where),
        )
        for name, stream in config.streams.items()
        for i, route in enumerate(stream.routes)
    ]
    unrouted = [
        filters.parse(text, f"bridge.unrouted[{i}]", captures=False) for i, text in enumerate(config.bridge.unrouted)
    ]
    heard = list(identities.heard(config))
    wanted: dict[str, Filter] = {}
    for f in [*unrouted, *(r[1] for r in routes), *(s.filter for s in heard)]:
        wanted.setdefault(f.pattern, f)
    widest = [f for p, f in wanted.items() if not any(filters.covers(o, f) for q, o in wanted.items() if q != p)]
    numbers = _identifiers(f.pattern for f in widest)
    told = _syncs(config, _identifiers((*numbers, *(it.filter.pattern for it in syncs.of(config)))))
    starts = {route.filter.pattern: route.starts for route in told}
    group = config.bridge.shared_group
    known = (*wanted, *config.bridge.dropped)
    covered = [p for p in known if p not in numbers]
    return Routing(
        routes=tuple(
            Route(
                stream=stream,
                filter=f,
                subscription=next(numbers[w.pattern] for w in widest if filters.covers(w, f)),
                where=where,
                fills=tuple(captures.filling(f.captures, route.format, route.identity, joins)),
                joins=joins,
                name=naming(route.device.names),
                options=route,
                starts=starts[filters.parse(route.sync.filter, where).pattern] if route.sync is not None else None,
            )
            for stream, f, route, where, joins in routes
        )
        + told,
        subscriptions=(
            *(Subscription(sharing.shared(group, pattern), n) for pattern, n in numbers.items()),
            *(Subscription(r.filter.pattern, r.subscription) for r in told),  # each bridge needs them all
        ),
        unwanted=tuple(
            p for p in (*(sharing.shared(group, p) for p in covered), *(known if group else ())) if p not in starts
        ),
        filters=(*((numbers[f.pattern], f) for f in widest), *((r.subscription, r.filter) for r in told)),
        spoken=(*identities.routed(config), *heard, *identities.unrouted(config)),
        heard=tuple(s.filter for s in heard),
    )


def _syncs(config: Config, numbers: Mapping[str, int]) -> tuple[Route, ...]:
    """A route for each filter of sync messages, however many routes for readings need them."""
    found: dict[str, Route] = {}
    for it in syncs.of(config):
        more = {"fields": {}, "receipt": "", "retained": "keep", "content_types": {}}
        options = it.route.model_copy(update=more)
        route = Route(
            it.stream, it.filter, numbers[it.filter.pattern], it.where, (DEVICE,), it.joins(),
            naming(it.route.device.names), options, Starts(), it.sync,
        )  # fmt: skip
        found.setdefault(it.filter.pattern, route)
    return tuple(found.values())


def _target(route: Route, levels: dict[str, str]) -> Target:
    try:
        return Target(route, levels, levels | _fields(route, levels), None)
    except PoisonError as e:
        return Target(route, levels, levels, e)


def _fields(route: Route, levels: dict[str, str]) -> dict[str, str]:
    """What the topic says of the fields that it fills. PoisonError: one of them has no valid name there."""
    found = {field: route.joins[field].of(levels) if field in route.joins else levels[field] for field in route.fills}
    for field, value in found.items():
        if field != DEVICE and field not in route.joins and not is_device_id(value):
            raise PoisonError(
                Reason.BAD_NAME,
                f"{field}: the topic's level {value[:80]!r} is not {ALPHABET}. "
                f'To take any text: fields: {{{field}: {{topic: "{{{field}}}"}}}}',
                field=field,
                value=value,
            )
    if DEVICE in found:
        found[DEVICE] = route.name(found[DEVICE])
        level = levels.get(DEVICE, "")
        if route.options.identity == DEVICE and is_device_id(level) and found[DEVICE] != level:
            words = f"{DEVICE}: {level} would publish as {found[DEVICE]}. A device publishes under its own id"
            raise PoisonError(Reason.BAD_NAME, words, field=DEVICE, value=level)
    return found


def _identifiers(patterns: Iterable[str]) -> dict[str, int]:
    out: dict[str, int] = {}
    for pattern in patterns:
        number = crc32(pattern.encode()) % MAX_SUBSCRIPTION_ID + 1
        while number in out.values():
            number = number % MAX_SUBSCRIPTION_ID + 1
        out[pattern] = number
    return out
