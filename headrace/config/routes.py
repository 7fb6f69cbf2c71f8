"""What is wrong with the MQTT side of a configuration: contracts, filters, captures, receipts, sharing."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from headrace.config import device, fields, identities, syncs
from headrace.config.formats import Avro
from headrace.config.identities import Spoken
from headrace.config.model import Config
from headrace.config.route import Route
from headrace.contracts import captures, files, lint, onevalue
from headrace.contracts.model import REMEDY, Contract
from headrace.errors import ConfigError
from headrace.protocol import filters, receipts, sparkplug
from headrace.protocol.filters import Filter
from headrace.protocol.names import DEVICE, EXTRA, QUALITY

NO_STREAMS = "streams: there is none. Add one, with its MQTT topics: `imu: {routes: ['sensors/{device_id}/imu']}`"
_LONGEST = "x" * 64  # a device id, as a capture may hold it


def contract_problems(config: Config, *, routed: bool = False) -> Iterator[str]:
    """Each stream whose contract is missing or faulty, and each capture that no field of the contract can hold.

    `routed`: only of streams that have routes, which are those that the bridge reads.
    """
    for name, stream in config.streams.items():
        if routed and not stream.routes:
            continue
        where = f"streams.{name}"
        try:
            contract = files.find(config.contract_of(name), config.contracts)
        except ConfigError as e:
            yield from (f"{where}: {line}" for line in str(e).splitlines())
            continue
        for problem in lint.serious(lint.lint(contract)):
            yield f"{where}: contract {contract.name}: {problem}"
        for i, route in enumerate(stream.routes):
            yield from _field_problems(contract, route, f"{where}.routes[{i}]")


def _field_problems(contract: Contract, route: Route, where: str) -> Iterator[str]:
    try:
        captured = filters.parse(route.filter, where).captures
        joins = route.joins(captured, where)
    except ConfigError:
        return  # `filter_problems` or `identity_problems` reports it
    fills = captures.filling(captured, route.format, route.identity, joins)
    for problem in captures.problems(contract, fills):
        yield f"{where}.filter: {problem}"
    yield from fields.problems(contract, route.fields, where)
    yield from syncs.boot_problems(contract, route, where)
    if route.unknown_fields == "keep" and EXTRA not in contract:
        yield (
            f"{where}.unknown_fields: keep needs the field {EXTRA} in the contract {contract.name}, just before "
            f"{QUALITY}. Add {REMEDY[EXTRA]}, or choose ignore or refuse"
        )
    if route.format == "value":
        for problem in onevalue.problems(contract, {*captured, *fills}, route.field):
            yield f"{where}: format value: {problem}"
    elif route.field:
        yield f"{where}.field: only a route with `format: value` has a field. Remove it, or add `format: value`"


def format_problems(config: Config) -> Iterator[str]:
    """Files of schemas that a route's payloads are read by, and that can't be used."""
    for name, stream in config.streams.items():
        for i, route in enumerate(stream.routes):
            where = f"streams.{name}.routes[{i}]"
            for file in route.avro.files if route.avro is not None else ():
                try:
                    Avro.read(file)
                except ConfigError as e:
                    yield f"{where}.avro: {e}"
            if route.protobuf is not None and not route.protobuf.descriptor.is_file():
                yield f"{where}.protobuf: {route.protobuf.descriptor}: no such file. Write it with protoc"


def filter_problems(config: Config) -> Iterator[str]:
    """Filters that MQTT does not allow, and filters of one stream that overlap. No filter at all is a problem too."""
    if not config.bridge.unrouted and not any(stream.routes for stream in config.streams.values()):
        why = "streams: no stream has a route, so the bridge has nothing to read. Add `routes` to a stream"
        yield why if config.streams else NO_STREAMS
    for name, stream in config.streams.items():
        before: list[tuple[str, Filter]] = []
        for i, route in enumerate(stream.routes):
            where = f"streams.{name}.routes[{i}].filter"
            try:
                found = filters.parse(route.filter, where)
            except ConfigError as e:
                yield str(e)
                continue
            for other_where, other in before:
                if filters.overlap(found, other):
                    yield (
                        f"{where}: {found.text} overlaps {other.text} ({other_where}): a message that matches both "
                        f"would be in {name} twice. Narrow one of them, or remove it"
                    )
            before.append((where, found))
            yield from _reserved(found, where)
    for key in ("unrouted", "dropped"):
        for i, text in enumerate(getattr(config.bridge, key)):
            where = f"bridge.{key}[{i}]"
            try:
                found = filters.parse(text, where, captures=False)
            except ConfigError as e:
                yield str(e)
                continue
            if key == "unrouted":
                yield from _reserved(found, where)


def _reserved(found: Filter, where: str) -> Iterator[str]:
    if found.text.startswith("$"):
        yield (
            f"{where}: {found.text}: topics that begin with $ are the broker's own, and it lets no device publish "
            "there. Name a topic that devices publish to. For Mosquitto's own figures see docs/observability.md"
        )


def identity_problems(config: Config) -> Iterator[str]:
    """Routes that don't say who publishes, or that contradict each other: a broker could not keep devices apart.

    Skips filters that can't be read.
    """
    before: list[tuple[str, Spoken]] = []
    for name, stream in config.streams.items():
        for i, route in enumerate(stream.routes):
            where = f"streams.{name}.routes[{i}]"
            try:
                found = filters.parse(route.filter, where)
            except ConfigError:
                continue
            if route.identity not in found.captures:
                yield f"{where}: {_no_identity(found, route.identity)}"
                continue
            yield from _naming_problems(route, found, where)
            if not identities.is_writable(found):
                yield (
                    f"{where}: {found.text}: a broker's access file can't have this filter. Leave out %u, %c, control "
                    "characters, and spaces at its ends"
                )
            level = found.captures[route.identity]
            this = identities.heard_by(route, found) or Spoken(found, level, route.identity != DEVICE)
            if this.filter is found and route.learns and sparkplug.whole(found) is not None:
                yield (
                    f"{where}: {found.text}: an edge node publishes for its devices, and is the one that says who they "
                    "are. Capture its level, and name that: spBv1.0/GROUP/+/{gateway}/{device_id}, identity: gateway"
                )
            for other_where, other in before:
                if not filters.overlap(this.filter, other.filter):
                    continue
                if this.gateway != other.gateway:
                    yield (
                        f"{where}: {found.text} and {other.filter.text} ({other_where}): a topic may match both, and "
                        "only one of them is for gateways, so a device could publish as any other there. Narrow one of "
                        "them"
                    )
                elif this.level != other.level:
                    yield (
                        f"{where}: {found.text} says at another level who publishes than {other.filter.text} "
                        f"({other_where}), and a topic may match both. Narrow one of them, or set identity in one"
                    )
            before.append((where, this))


def _naming_problems(route: Route, found: Filter, where: str) -> Iterator[str]:
    try:
        join = route.joins(found.captures, where).get(DEVICE)
    except ConfigError as e:
        yield str(e)
        return
    joined = join is not None and join.text != f"{{{DEVICE}}}"  # the level alone, where a payload has the key too
    yield from device.problems(route.device, route.identity, where, joined=joined)


def _no_identity(found: Filter, identity: str) -> str:
    if identity != DEVICE:
        return f"identity: {found.text} captures no {{{identity}}}. Name a capture of the filter"
    return (
        f"{found.text} captures no {{device_id}}, so any device could publish there as any other. Write {{device_id}} "
        "for the level of the topic that names the device; or, where a gateway publishes for its devices, capture the "
        'level that names the gateway and say so: {filter: "gw/{gateway}/+/up", identity: gateway}'
    )


def receipt_problems(config: Config) -> Iterator[str]:
    """Receipts that can't be sent, and filters that would read the receipts. Skips filters that can't be read."""
    prefix = config.bridge.receipts
    routes = [
        (f"streams.{name}.routes[{i}]", route.filter, route)
        for name, stream in config.streams.items()
        for i, route in enumerate(stream.routes)
    ]
    unrouted = [(f"bridge.unrouted[{i}]", text, None) for i, text in enumerate(config.bridge.unrouted)]
    read: list[tuple[str, Filter, Route | None]] = []
    for where, text, route in [*routes, *unrouted]:
        with suppress(ConfigError):
            read.append((where, filters.parse(text, where), route))
    for where, found, route in read:
        if prefix and filters.covers(found, filters.parse(f"{prefix}#", "bridge.receipts")):
            yield (
                f"{where}: {found.text} would read the bridge's own receipts, which go to {prefix}... Narrow the "
                "filter, choose another prefix in bridge.receipts, or set bridge.receipts to '' for no receipts"
            )
        elif route is not None and route.receipt:
            try:
                _check_receipt(route, f"{where}.receipt", found.captures, prefix, [f for _, f, _ in read])
            except ConfigError as e:
                yield str(e)


def _check_receipt(route: Route, where: str, captured: Mapping[str, int], prefix: str, read: Iterable[Filter]) -> None:
    """ConfigError where a route that captures these levels can't have its receipts sent to its template."""
    template = route.receipt
    if not prefix:
        raise ConfigError(
            f"{where}: bridge.receipts is empty, so no receipts are sent. Set it to a prefix such as receipts/, or "
            "remove this key"
        )
    parsed = filters.parse(template, where)
    if unknown := parsed.captures.keys() - captured:
        raise ConfigError(
            f"{where}: {template}: the route's filter does not capture {', '.join(sorted(unknown))}. Capture it there, "
            "or leave it out here"
        )
    own = f"{prefix}{{{route.identity}}}"
    if not f"{template}/".startswith(f"{own}/"):
        raise ConfigError(
            f"{where}: {template}: it must begin with {own}: bridge.receipts, and who published. A device can read its "
            "own receipts only"
        )
    if not receipts.allowed(receipts.fill(template, dict.fromkeys(captured, _LONGEST)), prefix, _LONGEST):
        raise ConfigError(
            f"{where}: {template}: it may have up to 8 levels of letters, digits and _.:@~-, and with captures of 64 "
            f"{receipts.MAX_TOPIC} bytes in all"
        )
    for other in read:
        if filters.overlap(parsed, other):
            raise ConfigError(
                f"{where}: {template}: the bridge would read it back with the filter {other.text}. Narrow the filter, "
                "or choose another topic"
            )


def sharing_problems(config: Config) -> Iterator[str]:
    """Settings of the bridges' shared group that would lose messages."""
    if config.bridge.leave and not config.bridge.shared_group:
        yield (
            "bridge.leave: true would lose what is published until the next start. It is for a bridge that shares its "
            "messages with others: name their group in bridge.shared_group, or remove this key"
        )
    for name, stream in config.streams.items() if config.bridge.shared_group else ():
        for i, route in enumerate(stream.routes):
            if route.learns:
                yield (
                    f"streams.{name}.routes[{i}].sparkplug: each bridge of a group gets some of an edge node's "
                    "messages, so none can learn from its births. Leave bridge.shared_group empty; or set learn: false "
                    "here, and name in metrics what only births say"
                )
