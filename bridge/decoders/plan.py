"""What a route says of payloads beside the contract: where fields are, in which units and time zone, what is a list."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from bridge.decoders.unknown import Known, Way
from bridge.decoders.values import DEFAULT_TEXTS, Texts
from headrace.config.fields import FieldSource
from headrace.config.route import Route
from headrace.contracts.model import Field
from headrace.protocol import paths
from headrace.protocol.names import DEVICE
from headrace.protocol.paths import Path


class Plan(NamedTuple):
    """How the objects of a route are read. The plan of a route that says nothing is `Plan()`."""

    sources: Mapping[str, FieldSource] = MappingProxyType({})  # by field
    explode: Path = ()
    texts: Texts = DEFAULT_TEXTS
    device: tuple[Path, ...] = ()  # of the parts of the device's name

    @property
    def maps(self) -> bool:
        """Whether fields are elsewhere in payloads than at the keys with their names."""
        return bool(self.explode or self.device) or any(not source.topic for source in self.sources.values())


def of_route(route: Route) -> Plan:
    """The plan of a route whose configuration has been checked."""
    explode = paths.parse(route.explode, "explode") if route.explode else ()
    device = tuple(paths.parse(path, "device.path") for path in route.device.paths)
    zone = ZoneInfo(route.time_zone) if route.time_zone else UTC
    return Plan(route.sources, explode, Texts(zone, route.text_numbers), device)


def known(fields: Iterable[Field], plan: Plan, names: Known) -> Known:
    """The keys of a payload that a plan reads. `names`: those that are read where the plan says nothing."""
    out: Known = dict(names)
    for field in fields:
        if field.name in plan.sources or (field.name == DEVICE and plan.device):
            for key in (field.name, *field.aliases):
                out.pop(key, None)
    plain = dict(out)
    for path in plan.device:
        _insert(out, path, None)
    for source in plan.sources.values():
        if source.path:
            _insert(out, paths.parse(source.path, "path"), None)
    if plan.explode:
        _insert(out, plan.explode, plain)
    return out


def _insert(into: Known, path: Path, leaf: Known | None) -> None:
    at: dict[Any, Any] = into
    for step in path[:-1]:
        inside = at.setdefault(step, Way())
        if inside is None:
            return  # all of it is read already
        at = inside
    last = path[-1]
    if leaf is None or at.get(last, leaf) is None:
        at[last] = None
    else:
        at[last] = Way({**leaf, **at.get(last, {})})


def elements(found: dict[str, Any], path: Path) -> list[Any]:
    """The elements of the object's list at `path`; none where there is no list."""
    value = paths.find(path, found)
    return value if type(value) is list else []


def expand(found: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    """The object once for each element of its list at `path`, which stands there instead of the list.

    The object itself, where there is no list or an empty one.
    """
    if type(paths.find(path, found)) is not list:
        yield found
        return
    for one in elements(found, path) or [None]:
        yield put(found, path, one)


def put(found: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The object with another value at `path`, where it has one."""
    key = str(path[0])
    return {**found, key: value if len(path) == 1 else put(found[key], path[1:], value)}
