"""What is wrong with a configuration beyond its keys and types, found before any connection is made.

Each service has a tuple of checks, for the settings that it reads. With more checks it would refuse to start because of
another service's setting. In Kubernetes each service gets its own sections only, so that the others have their
defaults, and only the bridge and provision get the files of the contracts.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path

from headrace.config import behaviour, routes, syncs
from headrace.config.model import Config, Serve, ServeTls
from headrace.contracts import calibration, files
from headrace.errors import ConfigError
from headrace.protocol.names import (
    CLEAN,
    DEVICE_AUDIT,
    DEVICE_EVENTS,
    ENTRY_POINT,
    clean_topic,
    is_identity,
    lake_folder,
)

TOKEN_CHARACTERS = 24  # at least

Check = Callable[[Config], Iterator[str]]


class Service(StrEnum):
    """A service that has checks, by the name that it is started with.

    bridge drain: the command that empties a bridge's session. broker: the agent beside the MQTT broker. provision: the
    command, or the job.
    """

    BRIDGE = "bridge"
    DRAIN = "bridge drain"
    INGEST = "ingest"
    CLEAN = "clean"
    DERIVE = "derive"
    ARCHIVE = "archive"
    COMPACT = "compact"
    COPY = "copy"
    HUB = "hub"
    BROKER = "broker"
    PROVISION = "provision"


def problems(config: Config, services: Iterable[Service] = Service) -> list[str]:
    """Each problem of the settings that `services` read, as a line "key: what is wrong. Remedy"; [] when all is well.

    Reads the contracts' files for the bridge and for provision. Connects to nothing.
    """
    found = [problem for service in services for check in CHECKS[service] for problem in check(config)]
    return list(dict.fromkeys(found))


def require(config: Config, services: Iterable[Service] = Service, path: Path | None = None) -> None:
    """ConfigError with all `problems`, where there are any. `path`: the file that the configuration was read from."""
    if found := problems(config, services):
        raise ConfigError("\n".join([f"{path or 'the settings'}: configuration refused", *(f"  {p}" for p in found)]))


def _stream_problems(config: Config) -> Iterator[str]:
    if not config.streams:
        yield routes.NO_STREAMS


def _follow_problems(config: Config) -> Iterator[str]:
    for name, stream in config.streams.items():
        where = f"streams.{name}.follows"
        if stream.follows and stream.follows not in config.streams:
            known = ", ".join(s for s in config.streams if s != name) or "none"
            yield f"{where}: {stream.follows!r} is no stream. There are: {known}. Correct the name, or remove the key"
        elif stream.follows in config.lineage(name):
            yield f"{where}: {stream.follows} follows {name} already. Remove the key in one of them"


def _clean_problems(config: Config) -> Iterator[str]:
    for name in config.clean.streams:
        if name not in config.streams:
            known = ", ".join(config.streams) or "none"
            yield f"clean.streams: {name!r} is not a stream. There are: {known}. Correct the name, or add the stream"


def _derived_problems(config: Config) -> Iterator[str]:
    known = ", ".join(config.streams) or "none"
    for name in config.derive.streams:
        if name not in config.streams or not config.streams[name].source:
            derived = ", ".join(s for s, it in config.streams.items() if it.source) or "none"
            yield f"derive.streams: {name!r} is no stream with `from`. There are: {derived}. Correct the name"
    for name, it in config.streams.items():
        where = f"streams.{name}"
        if not it.source:
            continue
        if it.source not in config.streams:
            yield f"{where}.from: {it.source!r} is no stream. There are: {known}. Correct the name, or add the stream"
        elif _made_of(config, name, name):
            yield f"{where}.from: {name} would be made of itself. Name another stream"
        elif it.partitions != (wanted := config.streams[it.source].partitions):
            words = f"{it.source}, of which it is made, has {wanted}. Remove the key: it then has as many"
            yield f"{where}.partitions: {it.partitions}, and {words}"
        if it.transform is None and not it.of_files:
            yield f"{where}.transform: none is given. Name the Python file that makes the rows of those of {it.source}"
        if it.routes:
            yield f"{where}.routes: it is made of {it.source} (`from`), so no message can be routed to it. Remove one"


def _made_of(config: Config, name: str, wanted: str) -> bool:
    """Whether a stream is made of `wanted`, directly or by others."""
    seen: set[str] = set()
    while name in config.streams and name not in seen:
        seen.add(name)
        name = config.streams[name].source
        if name == wanted:
            return True
    return False


def _transform_problems(config: Config, *, derived: bool) -> Iterator[str]:
    """Of the streams that derive makes, or of those that clean changes."""
    for name in config.derived if derived else config.cleaned:
        if name not in config.streams or bool(config.streams[name].source) != derived:
            continue
        path = config.streams[name].transform
        if path is not None and not re.fullmatch(ENTRY_POINT, str(path)) and not path.is_file():
            yield f"streams.{name}.transform: {path}: no such file. Correct the path, or write the transform there"


def _calibration_problems(config: Config) -> Iterator[str]:
    """Of the files, and of what their fields are in the contracts, where those are at hand."""
    for name in config.cleaned:
        path = config.streams[name].calibration if name in config.streams else None
        if path is None:
            continue
        try:
            table = calibration.read(path)
        except ConfigError as e:
            yield from (f"streams.{name}.calibration: {line}" for line in str(e).splitlines())
            continue
        with suppress(ConfigError):  # in Kubernetes clean has no contracts; elsewhere another check reports it
            contract = files.find(config.contract_of(name), config.contracts)
            yield from (f"streams.{name}.calibration: {it}" for it in calibration.misfits(table, contract))


def _archive_problems(config: Config) -> Iterator[str]:
    folders: dict[str, str] = {}
    for topic in config.archived:
        if topic == config.dead_letters.topic:
            words = "holds dead letters, not readings. Remove it: `headrace dlq archive` keeps them"
            yield f"archive.topics: {topic} {words}"
        if topic.startswith("_"):
            yield (
                f"archive.topics: {topic}: the lake keeps its own files in folders whose names begin with an "
                "underscore. Remove the topic, or store a topic of another name"
            )
        other = folders.setdefault(lake_folder(topic), topic)
        if other != topic:
            yield f"archive.topics: {other} and {topic} would share the folder {lake_folder(topic)}. Remove one of them"
    if not folders:
        yield "archive.topics and streams are both empty, so there is nothing to store. Name a stream, or a topic"


def _copy_problems(config: Config) -> Iterator[str]:
    """Nothing is wrong with a section that is left out: `processors copy` itself refuses to start without one."""
    source, target = config.copying.source, config.copying.target
    if not source and not target:
        return
    if not source:
        yield "copy.from: no topic is named. Name the topic to copy, such as imu.clean"
    if not target.endswith(CLEAN) or target == CLEAN:
        yield (
            f"copy.to: {target or 'no topic is named'}. Name a topic that ends in {CLEAN}, such as imu_copy{CLEAN}: "
            "readers go by the positions of such topics only, and so drop what is copied twice after a crash"
        )
    if target == source and source:
        yield f"copy.to: {target} is copied onto itself. Name another topic"
    elif target in {clean_topic(s) for s in config.streams}:
        yield f"copy.to: clean writes {target} already. Name a topic that is not a stream's"


def _hub_problems(config: Config) -> Iterator[str]:
    """Nothing is wrong with a section that is left out: hub itself refuses to start without one."""
    serve = config.hub.serve
    if serve == Serve():
        return
    if serve.database is None:
        yield "hub.serve.database: none is given. Give sqlite:////PATH for one hub, or postgresql://... for several"
    for name in (DEVICE_EVENTS, DEVICE_AUDIT):
        if name not in config.streams:
            yield f"streams: {name} is missing, in which hub tells what happens. Add `{name}: {{partitions: 1}}`"
    tokens = {"admin_token": serve.admin_token, "broker_token": serve.broker_token}
    for name, token in tokens.items():
        if token is None:
            yield f"hub.serve.{name}: none is given. Give at least {TOKEN_CHARACTERS} random characters, or a file"
        elif len(token.get_secret_value()) < TOKEN_CHARACTERS:
            yield f"hub.serve.{name}: too short to be safe. Give at least {TOKEN_CHARACTERS} random characters"
    if serve.admin_token is not None and serve.admin_token == serve.broker_token:
        yield "hub.serve.broker_token: it is the admin's. Give the broker's agent a token of its own"
    yield from _tls_problems(serve.tls, "hub.serve.tls")
    if (serve.devices_ca.cert_file is None) != (serve.devices_ca.key_file is None):
        yield "hub.serve.devices_ca: cert_file and key_file go together. Give both, or none for no certificates"


def _behaviour_problems(config: Config) -> Iterator[str]:
    yield from behaviour.problems(config.hub.behaviour)


def _session_problems(config: Config) -> Iterator[str]:
    name = config.bridge.client_id
    if is_identity(name):
        yield (
            f"bridge.client_id: begin it with headrace: a device may be called {name}, and would have this session. "
            f"What waits in a session called {name} is carried by `python -m bridge drain`, which takes any name"
        )


def _ingest_problems(config: Config) -> Iterator[str]:
    return _tls_problems(config.ingest.tls, "ingest.tls")


def _tls_problems(tls: ServeTls, where: str) -> Iterator[str]:
    if (tls.cert_file is None) != (tls.key_file is None):
        yield f"{where}: cert_file and key_file go together. Give both, or none for no HTTPS"


_CARRYING: tuple[Check, ...] = (
    partial(routes.contract_problems, routed=True),
    routes.format_problems,
    routes.filter_problems,
    routes.identity_problems,
    syncs.problems,
    routes.receipt_problems,
    routes.sharing_problems,
)
CHECKS: dict[Service, tuple[Check, ...]] = {
    Service.BRIDGE: (*_CARRYING, _session_problems),
    Service.DRAIN: _CARRYING,
    Service.INGEST: (
        partial(routes.contract_problems, routed=True),
        routes.format_problems,
        routes.filter_problems,
        routes.identity_problems,
        syncs.problems,
        _ingest_problems,
    ),
    Service.BROKER: (routes.filter_problems, routes.identity_problems, syncs.problems, _behaviour_problems),
    Service.CLEAN: (
        _stream_problems,
        _clean_problems,
        partial(_transform_problems, derived=False),
        _calibration_problems,
    ),
    Service.DERIVE: (_derived_problems, partial(_transform_problems, derived=True)),
    Service.ARCHIVE: (_archive_problems,),
    Service.COMPACT: (),  # whatever its keys and types allow will do
    Service.COPY: (_copy_problems,),
    Service.HUB: (_hub_problems, _behaviour_problems),
    Service.PROVISION: (routes.contract_problems, _follow_problems, _derived_problems),
}
