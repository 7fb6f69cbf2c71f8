"""A Mosquitto of one's own with a TLS listener for each certificate, and one that asks for the client's."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.runtime.sockets import listening
from headrace.stack import mosquitto, ports
from tests.secured.certs import Certs
from tests.waiting import stop_process

HOST = "127.0.0.1"


class Server:
    """A running Mosquitto: the port of each listener, "inner" being one without TLS. Anyone may connect."""

    def __init__(self, folder: Path, certs: Certs) -> None:
        taken: set[int] = set()
        listeners = {name: (pair, False) for name, pair in certs.servers.items()}
        listeners["mutual"] = (certs.servers["good"], True)
        self.ports = {name: ports.free(taken) for name in ("inner", *listeners)}
        lines = ["per_listener_settings false", "allow_anonymous true", "log_dest stdout", "log_type all"]
        if os.geteuid() == 0:
            lines.insert(0, "user root")
        lines.append(f"listener {self.ports['inner']} {HOST}")
        for name, (pair, asks) in listeners.items():
            lines += [f"listener {self.ports[name]} {HOST}", f"certfile {pair.cert}", f"keyfile {pair.key}"]
            if asks:
                lines += [f"cafile {certs.ca}", "require_certificate true"]
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        binary = mosquitto.obtain(lambda _words: None)
        with (folder / "mosquitto.log").open("wb") as log:
            self._process = subprocess.Popen([binary, "-c", config], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not all(listening(port) for port in self.ports.values()):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError((folder / "mosquitto.log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it."""
        stop_process(self._process, 10)


@contextmanager
def running(folder: Path, certs: Certs) -> Iterator[Server]:
    """A Mosquitto for as long as the block lasts."""
    it = Server(folder, certs)
    try:
        yield it
    finally:
        it.stop()
