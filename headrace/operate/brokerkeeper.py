"""What the agent beside Mosquitto does with an answer of hub: the files, the signal, the connections that end."""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from headrace.config import Config
from headrace.errors import TransientError
from headrace.identity.crl import Crl
from headrace.operate import brokercerts, brokerfiles, mqttaccess
from headrace.operate.brokercerts import CRL, Certificates, Listener
from headrace.operate.brokerfiles import ACCESS, PASSWORDS, PSKS, Answer
from headrace.operate.brokersessions import Ending

log = logging.getLogger(__name__)

WAIT_SECONDS = 5.0  # for one answer of hub, and between two looks at the configuration
RELOAD_SECONDS = 0.3  # until Mosquitto has read its files: it looks for signals ten times a second
_ANSWER_SECONDS = 10.0  # on top of the wait


class Calls(Protocol):
    """What the agent needs of `headrace.hub.client.Hub`, which says more."""

    def get(self, path: str, query: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """An answer; None: nothing has changed."""

    def post(self, path: str, body: Any = None, timeout: float | None = None) -> Any:
        """An answer."""


class Keeper:
    """Keeps the files in `folder`. `reload` has the broker read them; False: there is no broker yet, which will.

    `end` ends the connections of devices by name. `listener`: for certificates; None where the broker has none.
    """

    def __init__(
        self,
        hub: Calls,
        folder: Path,
        reload: Callable[[], bool],
        end: Callable[[Iterable[str]], None],
        reserved: str = "",
        listener: Listener | None = None,
    ) -> None:
        self._hub, self._folder, self._reload, self._end, self._reserved = hub, folder, reload, end, reserved
        self._listener = listener
        self._ending = Ending(folder)
        self._version: int | None = None  # in force
        self._gateways: tuple[str, ...] | None = None
        self._list = ""  # the text of the list of revoked certificates that is to be there
        self._owners: set[str] = set()  # of those in it
        self._put_once: set[str] = set()
        self._again: set[str] = set()  # whose connection is to be ended once more

    def step(self, config: Config) -> None:
        """Ask hub once, for up to `WAIT_SECONDS`, and have its answer in force.

        HeadraceError: nothing was changed, or not all of it is in force yet.
        """
        self._keep_list()
        self._cut_again()
        found, certs = self._ask()
        if found is None:
            return
        self._ending.add(self._ended(found, certs))
        self._gateways = found.gateways
        texts = {PASSWORDS: found.passwords.text, PSKS: found.psks, ACCESS: mqttaccess.devices(config, found.gateways)}
        if certs is not None:
            self._list, self._owners = certs.text, set(certs.owners.values())
            texts[CRL] = certs.text
        running = self._put(texts)
        if certs is not None and self._listener is not None and running:
            self._make_sure(self._listener, found, certs)
        cut = self._cut() if running else set()
        self._again = cut if certs is None else set()
        self._ending.done()
        if certs is None and self._known_list() is not None:
            self._hub.post("/api/broker/applied", {"version": found.version, "unproven": True})
            raise TransientError(
                "hub has no list of revoked certificates any more: who is revoked from now on gets in with one. Set "
                "hub.serve.devices_ca there again, or take the listener for certificates from the broker and the agent"
            )
        self._hub.post("/api/broker/applied", {"version": found.version})
        if found.version != self._version:
            log.info("in force", extra={"version": found.version, "passwords": found.passwords.text.count("\n")})
            if left_out := found.passwords.left_out:
                log.error(
                    "devices whose name is that of the receipts' topics are shut out", extra={"devices": left_out}
                )
        self._version = found.version

    def access(self, config: Config) -> None:
        """Have the access file of this configuration in force, for the gateways that hub, or the file, has named."""
        known = self._gateways
        file = self._folder / ACCESS
        self._put({ACCESS: mqttaccess.renewed(config, file) if known is None else mqttaccess.devices(config, known)})

    def _ask(self) -> tuple[Answer | None, Certificates | None]:
        query = {"wait": WAIT_SECONDS} if self._version is None else {"after": self._version, "wait": WAIT_SECONDS}
        answer = self._hub.get("/api/broker", query, timeout=WAIT_SECONDS + _ANSWER_SECONDS)
        if answer is None:
            return None, None
        found = brokerfiles.parse(answer, self._reserved)
        self._check(found)
        certs = None if self._listener is None else brokercerts.parse(found.certificates, self._listener.authority)
        if certs is not None:
            brokercerts.check(certs.list, self._known_list(), self._folder / CRL)
        return found, certs

    def _ended(self, found: Answer, certs: Certificates | None) -> set[str]:
        """Whose key, or one of whose certificates, counted before and does not now, or who has no password any more.

        The broker ends the last one's connection itself, but keeps the session with all its subscriptions.
        """
        keys, before = (brokerfiles.names_in(t) for t in (found.psks, brokerfiles.text_of(self._folder / PSKS)))
        names = {name for name, key in before.items() if keys.get(name) != key}
        had = brokerfiles.names_in(brokerfiles.text_of(self._folder / PASSWORDS))
        names |= had.keys() - brokerfiles.names_in(found.passwords.text).keys()
        if certs is not None:
            known = self._known_list()
            names |= {name for serial, name in certs.owners.items() if known is None or serial not in known.serials}
        return names

    def _known_list(self) -> Crl | None:
        return None if self._listener is None else brokercerts.known(self._folder / CRL, self._listener.authority)

    def _keep_list(self) -> None:
        """Put the list back that somebody has damaged. Had the broker read it, revoked devices might have come in."""
        if self._list and brokerfiles.text_of(self._folder / CRL) != self._list:
            log.error("the list of revoked certificates was not as it was written, and is put back")
            self._ending.add(self._owners)
            if self._put({CRL: self._list}):
                self._cut()
            self._version = None  # ask hub at once, and make sure

    def _make_sure(self, listener: Listener, found: Answer, certs: Certificates) -> None:
        """TransientError, which hub is told of, when the broker does not go by the list."""
        try:
            brokercerts.sure(listener, certs)
        except TransientError:
            self._hub.post("/api/broker/applied", {"version": found.version, "unproven": True})
            raise

    def _cut(self) -> set[str]:
        if names := self._ending.names():
            self._end(names)
            log.info("connections ended", extra={"devices": len(names)})
        return names

    def _cut_again(self) -> None:
        """Where nothing proves that the broker had read its files by then, some seconds later it has."""
        if self._again:
            self._end(self._again)
        self._again = set()

    def _check(self, found: Answer) -> None:
        """TransientError for an answer that takes all devices away and is older than what is in force.

        Hub has lost its registry then. When the last device is revoked, the version is newer.
        """
        older = found.version < self._version if self._version is not None else found.version == 0
        if found.passwords.text or found.psks or not older or not self._known():
            return
        raise TransientError(
            f"hub has version {found.version} and no device, but the broker has devices: was hub's database lost? The "
            f"devices stay. Restore it; or, to shut all devices out, empty {self._folder / PASSWORDS} and {PSKS} there"
        )

    def _known(self) -> bool:
        return any(brokerfiles.text_of(self._folder / name) for name in (PASSWORDS, PSKS))

    def _put(self, texts: dict[str, str]) -> bool:
        """Have the files read by the broker, where they are other ones. False while there is no broker."""
        changed = [name for name, text in texts.items() if brokerfiles.replace(self._folder / name, text)]
        # What lies there when the agent begins may be newer than what the broker has read.
        if not changed and self._put_once >= texts.keys():
            return True
        running = self._reload()
        if running:
            time.sleep(RELOAD_SECONDS)
        self._put_once |= texts.keys()
        return running
