"""The sync messages that the routes of a configuration need, and what is wrong with them."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from headrace.config.model import Config
from headrace.config.route import Route
from headrace.config.sync import Sync
from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.protocol import filters
from headrace.protocol.filters import Filter
from headrace.protocol.joins import Join
from headrace.protocol.names import DEVICE


class Synced(NamedTuple):
    """A route with sync messages. `where`: their section's key in the configuration."""

    stream: str
    where: str
    route: Route
    sync: Sync
    filter: Filter

    def joins(self) -> dict[str, Join]:
        """How the device's name is joined of captures, where it is. ConfigError: the filter lacks one of them."""
        return self.route.model_copy(update={"fields": {}}).joins(self.filter.captures, self.where)


def of(config: Config) -> Iterator[Synced]:
    """Each route with sync messages. ConfigError: a filter that MQTT does not allow."""
    for name, stream in config.streams.items():
        for i, route in enumerate(stream.routes):
            if route.sync is not None:
                where = f"streams.{name}.routes[{i}].sync"
                found = filters.parse(route.sync.filter, f"{where}.filter")
                yield Synced(name, where, route, route.sync, found)


def boot_problems(contract: Contract, route: Route, where: str) -> Iterator[str]:
    """That a contract has no field for the boot id."""
    if route.sync is not None and all(f.role != "boot" for f in contract.fields):
        yield (
            f"{where}.sync: the contract {contract.name} has no field with the role boot, so nobody can tell from "
            "which start of its device a reading counts. Add a long or a string with that role, and have the device "
            "send there a number that it counts up, or draws at random, at each start"
        )


def problems(config: Config) -> Iterator[str]:
    """Sync messages that don't say whose they are, that a route would take for readings, or that two routes read
    differently. Skips filters that can't be read.
    """
    routes: list[Filter] = []
    for name, stream in config.streams.items():
        for i, route in enumerate(stream.routes):
            with suppress(ConfigError):
                routes.append(filters.parse(route.filter, f"streams.{name}.routes[{i}].filter"))
    before: list[Synced] = []
    try:
        for it in of(config):
            yield from _problems(it, routes, before)
            before.append(it)
    except ConfigError as e:
        yield str(e)


def _problems(it: Synced, routes: list[Filter], before: list[Synced]) -> Iterator[str]:
    where, text = f"{it.where}.filter", it.filter.text
    try:
        joined = DEVICE in it.joins()
    except ConfigError as e:
        yield str(e)
        joined = True
    for name in (it.route.identity, *(() if joined else (DEVICE,))):
        if name not in it.filter.captures:
            yield f"{where}: {text} captures no {{{name}}}, so it is not known whose start it tells. Capture it"
            return
    for other in routes:
        if filters.overlap(it.filter, other):
            yield (
                f"{where}: {text} overlaps {other.text}: a sync message would be taken for a reading too. Have devices "
                "publish it elsewhere, such as to sync/{device_id}, or narrow one of the filters"
            )
    for one in before:
        same = (one.sync, one.route.device, one.route.identity, one.route.time_zone) == (
            it.sync, it.route.device, it.route.identity, it.route.time_zone
        )  # fmt: skip
        if filters.overlap(it.filter, one.filter) and not same:
            yield (
                f"{it.where}: it reads the same messages as {one.where}, and otherwise. Say the same in both (sync, "
                "device, identity, time_zone), or narrow one of the filters"
            )
