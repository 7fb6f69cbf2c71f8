"""What expires is renewed in time: nobody waits for it while the old one serves, whatever its issuer does."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from headrace.errors import ConfigError, TransientError
from headrace.identity import renewal
from headrace.identity.renewal import Renewed


class World:
    """What is kept is a number; those above `fresh` are fresh, those above `serves` serve."""

    def __init__(self, fetch: Callable[[], int]) -> None:
        self.calls, self.fetch, self.fresh, self.serves = 0, fetch, 0, 0
        self.gate = threading.Event()  # where a fetch waits
        self.it = Renewed("the number", self._fetch, lambda n: n > self.fresh, lambda n: n > self.serves, 0.3)

    def _fetch(self) -> int:
        self.calls += 1
        return self.fetch()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """It was fetched once, is not fresh any more, and its issuer does not answer."""
    monkeypatch.setattr(renewal, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(renewal, "_QUICK_SECONDS", 0.1)
    world = World(lambda: 1)
    assert world.it.get() == 1
    monkeypatch.setattr(renewal, "_AGAIN_SECONDS", 15.0)
    world.calls, world.fresh = 0, 1
    world.fetch = lambda: 2 if world.gate.wait(5) else 0
    yield world
    world.gate.set()


def timed(call: Callable[[], int]) -> tuple[int, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_the_old_one_serves_at_once_while_the_next_does_not_come(hanging: World) -> None:
    assert timed(hanging.it.get)[1] < 1
    for _ in range(5):
        value, took = timed(hanging.it.get)
        assert value == 1
        assert took < 0.05
    assert hanging.calls == 1, "one at a time"
    hanging.gate.set()
    end = time.monotonic() + 5
    while hanging.it.get() != 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert hanging.it.get() == 2, "what comes late counts"


def test_without_an_old_one_the_wait_has_an_end(hanging: World) -> None:
    hanging.serves = 1
    for _ in range(2):
        with pytest.raises(TransientError, match=r"the number: no answer in 0\.3 s"):
            hanging.it.get()
    assert hanging.calls == 1
    hanging.gate.set()
    assert hanging.it.get() == 2


def test_a_fetch_that_never_ends_does_not_bar_the_next(hanging: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "_HUNG_SECONDS", -0.3)
    hanging.serves = 1
    for _ in range(2):
        with pytest.raises(TransientError):
            hanging.it.get()
    assert hanging.calls == 2


@pytest.mark.parametrize("kind", [TransientError, ConfigError])
def test_no_failure_matters_while_the_old_one_serves(kind: type[Exception], hanging: World) -> None:
    def fail() -> int:
        raise kind("no")

    hanging.fetch = fail
    assert [hanging.it.get() for _ in range(3)] == [1, 1, 1]
    assert hanging.calls == 1, "not again at once"
    hanging.serves = 1
    for _ in range(2):
        with pytest.raises(kind, match="no"):
            hanging.it.get()
    assert hanging.calls == 3
