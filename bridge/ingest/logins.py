"""Who posts: the devices' ids and passwords, as hub has them now."""

import base64
import binascii
import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections import OrderedDict
from typing import Any, NamedTuple, Protocol

from bridge.ingest.refusal import RefusedError
from headrace.errors import HeadraceError, TransientError
from headrace.operate import brokerfiles
from headrace.operate.mqttusers import is_password
from headrace.runtime.attempts import Attempts, remember
from headrace.runtime.backoff import pauses
from headrace.runtime.health import Health
from headrace.runtime.metrics import INGEST_DEVICES

log = logging.getLogger(__name__)

WAIT_SECONDS = 20.0  # for one answer of hub
_ANSWER_SECONDS = 10.0  # on top of the wait


class Login(NamedTuple):
    """Who posts."""

    name: str
    gateway: bool  # that publishes for other devices


class Logins:
    """Tells devices by HTTP basic. `take` and `check` may be called on different threads.

    What hub's hash was worked out for is remembered, so that each further request costs one round of SHA-256.
    """

    def __init__(self) -> None:
        self._verifiers: dict[str, str] | None = None  # by device
        self._gateways: frozenset[str] = frozenset()
        self._version = -1
        self._attempts = Attempts()
        self._right: OrderedDict[str, tuple[bytes, str]] = OrderedDict()  # by device: of the password, its verifier
        self._salt = secrets.token_bytes(16)

    @property
    def version(self) -> int:
        """Of what hub has told last; -1 before."""
        return self._version

    def take(self, answer: object, reserved: str) -> None:
        """Let in the devices of hub's answer from now on, and nobody else. TransientError for one that can't be right.

        `reserved`: a name that no device may have, as with brokerfiles.passwords.
        """
        found, gateways = brokerfiles.passwords(answer, reserved), frozenset(brokerfiles.gateways(answer))
        if not found.text and found.version < self._version and self._verifiers:
            raise TransientError("hub has no device, and an older version than before: was its database lost?")
        self._verifiers = dict(line.split(":", 1) for line in found.text.splitlines())
        self._gateways, self._version = gateways, found.version
        INGEST_DEVICES.set(len(self._verifiers))

    def check(self, address: str, header: str) -> Login:
        """Who sends this Authorization header from `address`. RefusedError: 401, 429, or 503 before hub.

        A right password is always taken: hub makes them so that nobody guesses one. Whoever sends wrong ones waits.
        """
        known = self._verifiers
        if known is None:
            raise RefusedError(503, "hub has not told yet which devices there are", 2.0)
        user, password = _basic(header)
        verifier = known.get(user)
        if verifier is not None and self._is_right(user, password, verifier):
            return Login(user, user in self._gateways)
        wait = self._attempts.wait(address)
        self._attempts.count(address)
        if wait:
            raise RefusedError(429, f"too many wrong passwords from {address}. Try again in {wait:.0f} s", wait + 1)
        raise RefusedError(
            401, "this needs the id and the password of an active device: `curl -u ID:PASSWORD`. `headrace devices "
            "rotate ID` makes another password"
        )  # fmt: skip

    def _is_right(self, user: str, password: str, verifier: str) -> bool:
        made = hashlib.sha256(self._salt + password.encode(errors="replace")).digest()
        before = self._right.get(user)
        if before is not None and before[1] == verifier and hmac.compare_digest(before[0], made):
            return True
        if not is_password(password, verifier):
            return False
        remember(self._right, user, (made, verifier))
        return True


class Calls(Protocol):
    """What `Asking` needs of `headrace.hub.client.Hub`, which says more."""

    def get(self, path: str, query: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """An answer; None: nothing has changed."""


class Asking(threading.Thread):
    """Asks hub for its devices, again as soon as anything changes, until the process ends. Hub may be away."""

    def __init__(self, hub: Calls, logins: Logins, reserved: str, health: Health) -> None:
        super().__init__(name="hub", daemon=True)
        self._hub, self._logins, self._reserved, self._health = hub, logins, reserved, health

    def run(self) -> None:
        """The life of the thread."""
        waits = pauses()
        while True:
            try:
                self.step()
            except HeadraceError as e:
                pause = next(waits)
                # Who is known gets in as before: only the first answer is waited for.
                self._tell(str(e))
                log.warning("waiting", extra={"for": "hub", "error": str(e), "again_in_seconds": round(pause, 1)})
                time.sleep(pause)
            else:
                waits = pauses()
                self._tell("")

    def step(self) -> None:
        """Ask once, and take the answer. HeadraceError: nothing has changed."""
        query = {"wait": WAIT_SECONDS, "after": str(self._logins.version), "only": "passwords"}
        answer = self._hub.get("/api/broker", query, timeout=WAIT_SECONDS + _ANSWER_SECONDS)
        if answer is not None:
            self._logins.take(answer, self._reserved)
            log.info("devices known", extra={"version": self._logins.version})

    def _tell(self, problem: str) -> None:
        self._health.detail("hub", problem or "ok")
        if not problem or self._logins.version < 0:
            self._health.ready("hub", ok=not problem, why=problem)


def _basic(header: str) -> tuple[str, str]:
    """The user and the password of an Authorization header (RFC 7617); empty where there are none."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password
