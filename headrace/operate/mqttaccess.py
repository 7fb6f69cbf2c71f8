"""The access file of the listeners for devices, in Mosquitto's form: who may publish and read what.

    python -m headrace.operate.mqttaccess CONFIG FOLDER [DEVICES_CA]

That is for a container which runs before Mosquitto's, and makes the other files that it needs to start; then the agent
keeps them (headrace/operate/brokeragent.py).
It has no line for a single device: the broker puts the MQTT username in the place of %u. Each gateway has lines, since
only hub knows which user is one.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.config import Config, identities, load
from headrace.config.identities import Spoken
from headrace.errors import ConfigError
from headrace.operate import brokerfiles
from headrace.protocol import sparkplug
from headrace.protocol.names import is_identity

_USER = "user "


def devices(config: Config, gateways: Iterable[str] = ()) -> str:
    """The text of the file, for a configuration in which headrace.config.check finds no problem.

    A device, or a gateway, publishes where a route takes its readings and below its own name where the bridge reads
    mistyped topics. Where a route is for gateways, only `gateways` do. It reads its own receipts, and nothing else; an
    edge node of Sparkplug from whose births the bridge learns, its own commands too, since it is asked for births. Who
    had the name of the receipts' topics could forge receipts where a route begins with the identity, and may nothing.
    """
    prefix = config.bridge.receipts
    reserved = prefix.partition("/")[0]
    heard = list(identities.heard(config))
    spoken = [*identities.routed(config), *heard, *identities.unrouted(config)]
    own = (f"pattern write {_own(s.filter.levels, s.level, '%u')}" for s in spoken if not s.gateway)
    told = (f"pattern read {topic}" for s in heard if not s.gateway for topic in _told(s, "%u"))
    lines = list(dict.fromkeys([*own, *told]))
    if prefix:
        lines += [f"pattern read {prefix}%u", f"pattern read {prefix}%u/#"]
    if is_identity(reserved):
        lines += [f"{_USER}{reserved}", "topic deny #"]
    theirs = [s for s in spoken if s.gateway]
    for name in sorted({*gateways} - {reserved}):
        topics = dict.fromkeys(_own(s.filter.levels, s.level, name) for s in theirs)
        commands = dict.fromkeys(topic for s in heard if s.gateway for topic in _told(s, name))
        lines += [f"{_USER}{name}", *(f"topic write {topic}" for topic in topics)]
        lines += [f"topic read {topic}" for topic in commands]
    return "".join(f"{line}\n" for line in lines)


def renewed(config: Config, file: Path) -> str:
    """The same without hub, for the gateways that the file has already: what they send meanwhile would be lost.

    The broker acknowledges what it does not let through.
    """
    try:
        before = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        before = []
    names = (line.removeprefix(_USER) for line in before if line.startswith(_USER))
    return devices(config, filter(is_identity, names))


def _own(levels: Sequence[str], level: int, name: str) -> str:
    return "/".join([*levels[:level], name, *levels[level + 1 :]])


def _told(spoken: Spoken, name: str) -> list[str]:
    """Where an edge node of Sparkplug that publishes under `name` is told what to do."""
    levels = list(spoken.filter.levels)
    levels[spoken.level] = name
    return sparkplug.commands(tuple(levels))


def main(arguments: list[str]) -> int:
    """Write the file into a folder, and those for passwords, keys and, with the authority of the devices, revoked
    certificates where there is none: nobody gets in by them. Returns the exit code.
    """
    if len(arguments) not in {2, 3}:
        sys.stderr.write("usage: python -m headrace.operate.mqttaccess CONFIG FOLDER [DEVICES_CA]\n")
        return 2
    folder = Path(arguments[1])
    try:
        text = renewed(load(Path(arguments[0])), folder / brokerfiles.ACCESS)
    except ConfigError as e:
        sys.stderr.write(f"mqttaccess: {e}\n")
        return 2
    folder.mkdir(mode=0o750, exist_ok=True)
    brokerfiles.replace(folder / brokerfiles.ACCESS, text)
    for name in (brokerfiles.PASSWORDS, brokerfiles.PSKS):
        if not (folder / name).is_file():
            brokerfiles.replace(folder / name, "")
    if arguments[2:]:
        from headrace.operate import brokercerts

        brokercerts.prepare(folder, Path(arguments[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
