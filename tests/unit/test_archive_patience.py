"""Readiness while several jobs wait: it is there again when the last of them goes on."""

import threading
from typing import cast

import pytest

from headrace.errors import TransientError
from headrace.health import Health
from processors.archive import patience
from processors.archive.commit import Revoked, Token
from processors.archive.patience import Patience


class Checks:
    """Readiness, as it was told last."""

    def __init__(self) -> None:
        self.ok = True
        self.waiting = threading.Event()

    def ready(self, _check: str, ok: bool, _why: str = "") -> None:
        self.ok = ok
        if not ok:
            self.waiting.set()


def test_one_that_goes_on_does_not_speak_for_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_SECONDS", 60.0)
    checks, token = Checks(), Token()
    it = Patience(cast("Health", checks))

    def fail() -> None:
        raise TransientError("away")

    def hold() -> None:
        with pytest.raises(Revoked):
            it.hold(token, "storing", fail)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert checks.waiting.wait(10)
        it.hold(Token(), "decoding", lambda: None)
        assert not checks.ok
    finally:
        token.void()
        thread.join()
    assert checks.ok
