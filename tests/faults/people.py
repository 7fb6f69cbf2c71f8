"""People who change hub's registry, each with devices of their own. They ask again until they are answered."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.config import Config
from headrace.errors import TransientError
from headrace.hub.client import Hub, RefusedError, device_path
from headrace.identity.ca import Pair
from tests.faults.seats import Doors, Seat

PEOPLE, MOST_DEVICES, MOST_SEATS = 3, 40, 12
PEM = serialization.Encoding.PEM
PATIENCE = 180.0  # seconds for one act
_TIMEOUT = 60.0  # of one request: longer than hub waits for its database, so that what was given up is not done later
_CONFLICT = 409


@dataclass
class Known:
    """What hub has answered about a device. `acts`: those that were answered, in their order."""

    id: str
    state: str = "active"
    firmware: str = ""
    password: str = ""
    old: list[str] = field(default_factory=list)  # passwords that must not let in any more
    acts: list[str] = field(default_factory=list)
    certified: bool = False  # it logs in with certificates, and has no password
    calm: bool = True  # nothing was done to it that ends a connection
    pairs: list[Pair] = field(default_factory=list)  # its certificates since it was revoked last; the newest lets in
    ended: list[Pair] = field(default_factory=list)  # that were revoked

    @property
    def credential(self) -> str | Pair:
        """What lets it in, as long as it is active."""
        return self.pairs[-1] if self.certified else self.password


class Person(threading.Thread):
    """Acts until it is told to stop. `devices`, and `problems` in words, are whole once the thread has ended."""

    def __init__(self, config: Config, doors: Doors, name: str, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.devices: list[Known] = []
        self.seats: list[Seat] = []  # of devices that have connected, and stay
        self._doors = doors
        self.problems: list[str] = []
        self.asked_again = 0  # requests whose answer did not come
        self._hub = Hub(config.hub.model_copy(update={"timeout_seconds": _TIMEOUT}))
        self._dice = Random(seed)
        self._halt = threading.Event()

    def halt(self) -> None:
        """Do nothing more, once what is under way was answered."""
        self._halt.set()

    def run(self) -> None:
        """The life of the thread."""
        try:
            while not self._halt.wait(self._dice.uniform(0, 0.2)):
                self._act()
        except Exception as e:  # noqa: BLE001 - a problem of the run, whatever it is
            self.problems.append(f"{self.name}: {e!r}")

    def _act(self) -> None:
        if not self.devices or (len(self.devices) < MOST_DEVICES and self._dice.random() < 0.3):
            self._add()
            return
        device = self._dice.choice(self.devices)
        if device.state == "active" and len(self.seats) < MOST_SEATS and self._dice.random() < 0.3:
            self._sit(device)
            return
        ways: dict[str, list[Callable[[Known], None]]] = {
            "active": [self._rotate, self._rotate, self._edit, self._edit, self._quarantine, self._revoke],
            "quarantined": [self._activate, self._revoke],
            "revoked": [self._activate],
        }
        self._dice.choice(ways[device.state])(device)

    def _add(self) -> None:
        device = Known(f"{self.name}-{len(self.devices):02d}", certified=self._dice.random() < 0.4)
        kind = "none" if device.certified else "password"
        wanted = {"id": device.id, "model": "fault", "credential": kind}
        answer = self._ask(lambda: self._hub.post("/api/devices", wanted))
        device.acts.append("add")
        self.devices.append(device)
        if answer is None or device.certified:  # or it was added, and its password got lost on its way
            self._rotate(device)
        else:
            device.password = answer["password"]

    def _sit(self, device: Known) -> None:
        seat = Seat(self._doors, device.id, device.credential)
        for other in [s for s in self.seats if s.name == device.id]:
            self.seats.remove(other)  # it is taken over
            other.close()
        if seat.take():
            self.seats.append(seat)

    def _harm(self, device: Known, act: str) -> None:
        device.calm = False
        for seat in self.seats:
            if seat.name == device.id:
                seat.harm.add(act)

    def _rotate(self, device: Known) -> None:
        if device.certified:
            key = ec.generate_private_key(ec.SECP256R1())
            public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
            path, secret = device_path(device.id, "certificate"), serialization.NoEncryption()
            answer = self._ask(lambda: self._hub.post(path, {"public_key": public}))
            private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, secret).decode()
            device.pairs.append(Pair(answer["certificate"], private))
            device.acts.append("certificate")
            if len(device.pairs) > 1:  # the third ends the first, and with it the connection
                self._harm(device, "certificate")
            return
        answer = self._ask(lambda: self._hub.post(device_path(device.id, "rotate")))
        device.old += [device.password] * bool(device.password)
        device.password = answer["password"]
        device.acts.append("rotate")
        self._harm(device, "rotate")

    def _edit(self, device: Known) -> None:
        firmware = f"{self._dice.random():.6f}"
        self._ask(lambda: self._hub.patch(device_path(device.id), {"firmware": firmware}))
        device.firmware = firmware
        device.acts.append("edit")

    def _quarantine(self, device: Known) -> None:
        self._ask(lambda: self._hub.patch(device_path(device.id), {"state": "quarantined"}))
        device.state = "quarantined"
        device.acts.append("edit")
        self._harm(device, "quarantine")

    def _activate(self, device: Known) -> None:
        ended = device.state == "revoked"
        self._ask(lambda: self._hub.patch(device_path(device.id), {"state": "active"}))
        device.state = "active"
        device.acts.append("edit")
        if ended:  # its password has ended, and it has none now
            self._rotate(device)

    def _revoke(self, device: Known) -> None:
        self._ask(lambda: self._hub.post(device_path(device.id, "revoke")))
        device.state = "revoked"
        device.acts.append("revoke")
        device.ended, device.pairs = device.ended + device.pairs, []
        self._harm(device, "revoke")

    def _ask(self, call: Callable[[], Any]) -> Any:
        """The answer. None where a request before was done, and its answer lost: so the next one is refused."""
        end, first = time.monotonic() + PATIENCE, True
        while True:
            try:
                return call()
            except TransientError:
                assert time.monotonic() < end, f"no answer for {PATIENCE:.0f} s"
                self.asked_again += 1
            except RefusedError as e:
                if first or e.status != _CONFLICT:
                    raise
                return None
            first = False
            time.sleep(0.1)


@contextmanager
def acting(config: Config, doors: Doors, name: str, seed: str) -> Iterator[list[Person]]:
    """People who act for as long as the block lasts; `name` begins the names of their devices."""
    people = [Person(config, doors, f"{name}-{n}", f"{seed}/{n}") for n in range(PEOPLE)]
    for person in people:
        person.start()
    try:
        yield people
    finally:
        for person in people:
            person.halt()
        for person in people:
            person.join(PATIENCE + _TIMEOUT)
