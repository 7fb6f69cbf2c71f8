"""The certificates of an installation on one machine: an authority and one for each server, made, renewed, listed.

They are files of one folder: ca.pem, ca.key, then NAME.pem and NAME.key for each server. The authority's key never
leaves it. A renewed certificate has a new key, and is signed by the same authority: clients, who trust ca.pem, notice
nothing.

SeaweedFS has an authority of its own, in the folder `store` below: its parts let in everybody who shows a certificate
of their authority, and the other one issues to others as well. So have the devices, in the folder `devices`: the broker
lets in whoever shows a certificate of their authority, under the name in it.
"""

import signal
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from headrace import textfile
from headrace.errors import ConfigError, HeadraceError
from headrace.runtime.httpserver import is_address
from headrace.stack.process import Process, signal_group
from headrace.stack.state import State

if TYPE_CHECKING:
    from headrace.identity.ca import Authority, Pair

CA = "ca"
MQTT, HUB, STORE, DEVICES = "mqtt", "hub", "store", "devices"
RELOAD_SECONDS = 60  # until SeaweedFS looks at its files again
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Row(NamedTuple):
    """A certificate in the folder. `wrong`: why it is of no use; empty when it is good."""

    file: Path
    name: str
    hosts: tuple[str, ...]
    issuer: str
    begins: datetime
    ends: datetime
    wrong: str
    due: bool

    @property
    def state(self) -> Literal["good", "renew", "bad"]:
        """good; renew: from two thirds of its life; bad: of no use."""
        return "bad" if self.wrong else "renew" if self.due else "good"


def wanted(address: str | None) -> dict[str, tuple[str, ...]]:
    """The servers of the local stack that have a certificate, with the names and addresses in it.

    `address` is that of `--listen`, None without it.
    """
    network = () if address is None else _network(address)
    return {MQTT: (*LOOPBACK, *network), HUB: (*LOOPBACK, *network)}


def names(address: str | None) -> tuple[str, ...]:
    """The host names by which clients on the network may call this machine. `address` as for `wanted`."""
    return () if address is None else tuple(n for n in _network(address) if not is_address(n))


def keep(folder: Path, servers: Mapping[str, Sequence[str]], *, renew: bool = False) -> list[str]:
    """`ensure` for these servers and, with its own authority, for SeaweedFS; and the authority of the devices."""
    outer = ensure(folder, servers, renew=renew)
    inner: dict[str, Mapping[str, Sequence[str]]] = {STORE: {STORE: LOOPBACK}, DEVICES: {}}
    return [*outer, *(f"{name}/{w}" for name, own in inner.items() for w in ensure(folder / name, own, renew=renew))]


def ensure(folder: Path, servers: Mapping[str, Sequence[str]], *, renew: bool = False) -> list[str]:
    """Make what is missing and renew what is due, of no use or lacks a host. With `renew` renew all but the authority.

    Returns what was done, in words, with the server's name first; empty when all was good.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority, done = _authority(folder)
    for name, hosts in servers.items():
        why = "renewed" if renew and (folder / f"{name}.pem").is_file() else _why(folder, name, hosts, authority)
        if why:
            _write(folder, name, authority.server(f"headrace-{name}", hosts))
            done.append(f"{name}: {why}")
    return done


def tell(state: State) -> bool:
    """Have the servers of a running stack take renewed certificates; False when none runs.

    Mosquitto reads its files again when it gets SIGHUP, and keeps its connections. SeaweedFS looks by itself.
    """
    noted = state.read_json("stack.json").get("services", {}).get("mosquitto", {})
    return signal_group(Process(noted.get("pid", 0), noted.get("started", "")), signal.SIGHUP)


def rows(folder: Path) -> list[Row]:
    """The certificates in the folder, the authority first, then those in folders below. ConfigError for other files."""
    from headrace.identity import ca

    if not (folder / f"{CA}.pem").is_file():
        return []
    root = (folder / f"{CA}.pem").read_text(encoding="utf-8")
    out = []
    for file in sorted(folder.glob("*.pem"), key=lambda p: (p.stem != CA, p.name)):
        facts = ca.facts(file.read_text(encoding="utf-8"), str(file))
        try:
            wrong = "; ".join(ca.problems(_pair(folder, file.stem), root, str(file)))
        except ConfigError as e:
            wrong = str(e)
        out.append(Row(file, facts.name, facts.names, facts.issuer, facts.begins, facts.ends, wrong, facts.due(_now())))
    return [*out, *(row for inner in sorted(folder.glob("*/")) for row in rows(inner))]


def _authority(folder: Path) -> "tuple[Authority, list[str]]":
    from headrace.identity import ca
    from headrace.identity.ca import Authority

    if not (folder / f"{CA}.pem").exists() and not (folder / f"{CA}.key").exists():
        name = "devices" if folder.name == DEVICES else "authority"
        made = Authority.make(f"Headrace {name} of {_hostname()}")
        _write(folder, CA, made.pair)
        return made, [f"{CA}: made"]
    found = Authority(_pair(folder, CA), str(folder / f"{CA}.pem"))
    if wrong := ca.problems(found.pair, found.pair.cert, CA, _now()):
        raise ConfigError(
            f"{folder / CA}.pem: {wrong[0]}. Remove the folder {folder}: a new authority is made, and every client "
            "needs its ca.pem"
        )
    return found, []


def _why(folder: Path, name: str, hosts: Sequence[str], authority: "Authority") -> str:
    """Why a server needs a new certificate; empty when it does not."""
    from headrace.identity import ca

    if not (folder / f"{name}.pem").is_file() or not (folder / f"{name}.key").is_file():
        return "made"
    try:
        pair = _pair(folder, name)
        facts = ca.facts(pair.cert, name)
        if wrong := ca.problems(pair, authority.pair.cert, name):
            return f"made anew: {'; '.join(wrong)}"
    except HeadraceError as e:
        return f"made anew: {e}"
    if missing := [h for h in hosts if h not in facts.names]:
        return f"made anew, also for {', '.join(missing)}"
    return f"renewed: it would have ended on {facts.ends:%Y-%m-%d}" if facts.due(_now()) else ""


def _pair(folder: Path, name: str) -> "Pair":
    from headrace.identity.ca import Pair

    files = [folder / f"{name}.{kind}" for kind in ("pem", "key")]
    try:
        return Pair(*(f.read_text(encoding="utf-8") for f in files))
    except (OSError, ValueError) as e:
        raise ConfigError(f"{files[0]} and {files[1]}: can't be read: {getattr(e, 'strerror', e)}") from None


def _write(folder: Path, name: str, pair: "Pair") -> None:
    """Both files as a whole, mode 0600. A server that reads between the two finds a pair that does not fit: it tries
    again, or is told to only afterwards.
    """
    texts = {folder / f"{name}.key": pair.key, folder / f"{name}.pem": pair.cert}
    fresh = {target: textfile.fresh(target, text) for target, text in texts.items()}
    for target, path in fresh.items():
        path.replace(target)


def _network(address: str) -> tuple[str, ...]:
    """The names and addresses by which devices on the network know this machine."""
    everywhere = address in {"0.0.0.0", "::"}  # noqa: S104 - asked for with --listen
    found = [own_address(), _hostname()] if everywhere else [address, _hostname()]
    return tuple(dict.fromkeys(h for h in found if h not in LOOPBACK))


def own_address() -> str:
    """This machine's address on the network of its default route; its name when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # nothing is sent
            return str(s.getsockname()[0])
        except OSError:
            return _hostname()


def _hostname() -> str:
    name = socket.gethostname()
    return name if name and name.isascii() else "localhost"


def _now() -> datetime:
    return datetime.now(UTC)
