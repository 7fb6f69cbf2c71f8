"""The agent beside Mosquitto: keeps what it reads of devices as hub and the configuration say.

    python -m headrace.operate.brokeragent --config headrace.yaml --folder FOLDER --port 8080

Hub can't signal a broker that runs elsewhere. The agent asks hub, writes the files (passwords, keys, rights, revoked
certificates), has Mosquitto read them again, ends the connections that Mosquitto would keep, and reports the version in
force. While hub is away, or gives an answer that can't be right, the files stay as they are.
Beside that it watches what devices do (headrace/operate/brokerwatch.py).
"""

import argparse
import logging
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import NamedTuple

from headrace.config import Config, check, load
from headrace.config.check import Service
from headrace.errors import HeadraceError
from headrace.hub.client import Hub
from headrace.identity.tls import split
from headrace.operate import brokersessions
from headrace.operate.behaviour import Fact
from headrace.operate.brokercerts import Listener
from headrace.operate.brokerfiles import PID
from headrace.operate.brokerkeeper import Calls, Keeper
from headrace.operate.brokerwatch import Watcher
from headrace.runtime import backoff
from headrace.runtime.health import Health
from headrace.runtime.service import run_service

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_CHECKS = ("hub", "watch")


def reload(file: Path) -> bool:
    """Have the Mosquitto whose process id is in `file` read its files again. False while none runs."""
    try:
        pid = int(file.read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/comm")
        if command.parent.parent.joinpath("self").exists() and command.read_text().strip() != "mosquitto":
            return False  # the broker that wrote the file is gone, and another process has its number
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


class Place(NamedTuple):
    """Where the agent works: the folder of the files, Mosquitto's process id, its listener for certificates if any, and
    its own listener for health.
    """

    folder: Path
    pid: Path
    listener: Listener | None
    host: str
    port: int


def main(place: Place, path: Path | None, config: Config, stop: threading.Event) -> None:
    """Keep the files until `stop` is set. ConfigError without a token for hub."""
    end = partial(brokersessions.end, config.mqtt)
    reserved = config.bridge.receipts.partition("/")[0]
    keeper = Keeper(Hub(config.hub), place.folder, partial(reload, place.pid), end, reserved, place.listener)
    configuration = Configuration(path, config)
    # With the token of the metrics.
    http = config.bridge.http.model_copy(update={"host": place.host, "port": place.port})
    failure: list[Exception] = []
    with Health(http, _CHECKS) as health:
        log.info("starting", extra={"http_port": health.port, "folder": str(place.folder)})

        def work() -> None:
            try:
                _keep(keeper, configuration, health, stop)
            except Exception as e:  # noqa: BLE001 - raised below
                failure.append(e)

        # A thread of its own: hub answers late, and the end does not wait for it. Files are replaced as a whole.
        worker = threading.Thread(target=work, name="agent", daemon=True)
        worker.start()
        watcher = Watcher(
            lambda: configuration.config,
            partial(_report, Hub(config.hub)),
            lambda problem: health.ready("watch", ok=not problem, why=problem),
        )
        watcher.start()
        while worker.is_alive() and watcher.is_alive() and not stop.wait(_LOOK_SECONDS):
            pass
        stop.set()  # both end, whoever of them was the first
        watcher.halt()
    if watcher.failure is not None:
        raise watcher.failure
    if failure:
        raise failure[0]


def _report(hub: Calls, facts: list[Fact]) -> list[str]:
    shut: list[str] = hub.post("/api/broker/behaviour", {"facts": [fact._asdict() for fact in facts]})["shut_out"]
    return shut


def _keep(keeper: Keeper, configuration: "Configuration", health: Health, stop: threading.Event) -> None:
    pauses = backoff.pauses()
    while not stop.is_set():
        health.progress()
        try:
            keeper.access(config := configuration.newest())
            keeper.step(config)
        except HeadraceError as e:
            pause = next(pauses)
            health.ready("hub", ok=False, why=str(e))
            log.warning("waiting", extra={"for": "hub", "error": str(e), "again_in_seconds": round(pause, 1)})
            stop.wait(pause)
        else:
            health.ready("hub", ok=True)
            pauses = backoff.pauses()


class Configuration:
    """The newest `config`: in Kubernetes its file changes while the agent runs."""

    def __init__(self, path: Path | None, config: Config) -> None:
        self._path, self.config = path, config
        self._read = self._bytes()

    def newest(self) -> Config:
        """The newest; the one before, with an error in the log, where that is wrong."""
        found = self._bytes()
        if found != self._read:
            self._read = found
            try:
                config = load(self._path)
                check.require(config, [Service.BROKER], self._path)
                self.config = config
            except HeadraceError as e:
                log.error("the configuration is not taken", extra={"error": str(e)})  # noqa: TRY400 - it says it all
        return self.config

    def _bytes(self) -> bytes:
        try:
            return self._path.read_bytes() if self._path else b""
        except OSError:
            return self._read


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="brokeragent")
    parser.add_argument("--config", type=Path, help="YAML file with hub, streams and bridge")
    parser.add_argument("--folder", type=Path, required=True, help="of the files, which Mosquitto reads")
    parser.add_argument("--pid-file", type=Path, help=f"of Mosquitto; {PID} in the folder when not given")
    parser.add_argument("--port", type=int, default=0, help="of /livez, /readyz and /metrics")
    parser.add_argument("--host", default="127.0.0.1", help="the same")
    parser.add_argument("--certificates", default="", help="host:port of Mosquitto's listener for certificates")
    parser.add_argument("--devices-ca", type=Path, help="file with the authority that this listener trusts")
    given = parser.parse_args()
    if bool(given.certificates) != bool(given.devices_ca):
        parser.error("--certificates and --devices-ca: give both, or none")
    there = Listener(given.devices_ca, *split(given.certificates)) if given.devices_ca else None
    place = Place(given.folder, given.pid_file or given.folder / PID, there, given.host, given.port)
    arguments = [] if given.config is None else ["--config", str(given.config)]
    sys.exit(run_service("brokeragent", partial(main, place, given.config), arguments, reads=Service.BROKER))
