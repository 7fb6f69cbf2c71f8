"""What the archive asks of the store before it joins its group, and that nothing in plain counts as stored."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from headrace.config import Config
from headrace.config.model import Http
from headrace.errors import ConfigError, TransientError
from headrace.health import Health
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from processors.archive import put, service
from tests.secured.answers import Answers, answering
from tests.secured.bucket import Bucket, settings
from tests.unit.archive_world import World

KEY = "_probe/1"


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def server(bucket: Bucket) -> Iterator[Answers]:
    with answering(bucket.answer) as it:
        yield it


class Store:
    """A store whose `put` is another one."""

    def __init__(self, put: Callable[[ObjectStore, str, bytes, bool], bool]) -> None:
        self.inner = cast("ObjectStore", World().store)
        self._put = put

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        return self._put(self.inner, key, data, if_absent)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def ignoring(store: ObjectStore, key: str, data: bytes, _if_absent: bool) -> bool:
    return store.put(key, data)


def repeated(store: ObjectStore, key: str, data: bytes, if_absent: bool) -> bool:
    """The first answer is lost, and the HTTP client asks again."""
    store.put(key, data, if_absent=if_absent)
    return store.put(key, data, if_absent=if_absent)


def test_a_store_that_ignores_conditions_is_recognised() -> None:
    for store, keeps in ((World().store, True), (Store(ignoring), False), (Store(repeated), True)):
        assert put.keeps_conditions(cast("ObjectStore", store), KEY) is keeps
        assert not list(store.list(""))


def test_an_outage_is_waited_for_and_what_it_left_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(put, "_FIRST_SECONDS", 0.01)
    calls: list[object] = []

    def away(store: ObjectStore, key: str, data: bytes, if_absent: bool) -> bool:
        calls.append(health.is_ready()[1]["checks"]["store"])
        if len(calls) in {1, 3}:  # of the second attempt the first object stays
            raise TransientError("the store is away")
        return ignoring(store, key, data, if_absent)

    store, stop = Store(away), threading.Event()
    with Health(Http(), ("store",)) as health, caplog.at_level(logging.WARNING):
        assert put.await_store(cast("ObjectStore", store), health, stop) is False
        assert calls[1:] == ["the store is away"] * 4
        assert not list(store.list(""))
        told = [r.message for r in caplog.records if "conditions" in r.message]
        assert told == ["the store ignores conditions of writes: each object is looked for before it is written"]
        stop.set()
        assert put.await_store(cast("ObjectStore", store), health, stop) is None


@pytest.mark.parametrize("conditional", [True, False])
def test_a_store_that_takes_the_order_and_does_not_encrypt_is_refused_at_start(
    bucket: Bucket, server: Answers, conditional: bool
) -> None:
    bucket.encrypts, bucket.conditional = False, conditional
    with Health(Http(), ("store",)) as health, pytest.raises(ConfigError, match=r"store\.sse asks for aws:kms"):
        put.await_store(open_store(settings(server.port)), health, threading.Event())
    assert not bucket.objects


def test_one_that_encrypts_is_taken(bucket: Bucket, server: Answers) -> None:
    for bucket.conditional in (True, False):
        with Health(Http(), ("store",)) as health:
            store = open_store(settings(server.port))
            assert put.await_store(store, health, threading.Event()) is bucket.conditional
    assert not bucket.objects


def test_one_that_can_not_do_it_is_refused_in_words(bucket: Bucket, server: Answers) -> None:
    bucket.refuses = "NotImplemented"
    with Health(Http(), ("store",)) as health, pytest.raises(ConfigError, match="it can't do what is asked: words"):
        put.await_store(open_store(settings(server.port)), health, threading.Event())


def test_the_archive_ends_before_it_joins_its_group(
    bucket: Bucket, server: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.encrypts = False
    monkeypatch.setattr(service, "await_kafka", lambda *_: True)
    monkeypatch.setattr(service, "Archive", None)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    config = Config.model_validate(
        {
            "store": settings(server.port),
            "streams": {"imu": {"contract": "imu"}},
            "registry": {"url": "http://127.0.0.1:1"},
        }
    )
    with pytest.raises(ConfigError, match=r"store\.sse asks for aws:kms"):
        service.run(config, threading.Event())


@pytest.mark.parametrize("conditional", [True, False])
def test_what_lies_there_in_plain_never_counts_as_stored(bucket: Bucket, server: Answers, conditional: bool) -> None:
    """However often it is tried again: the object that a first try wrote is met by the next."""
    bucket.encrypts, store = False, open_store(settings(server.port))
    for _ in range(3):
        with pytest.raises(ConfigError, match=r"of k it tells no encryption"):
            put._put(store, "k", b"rows", conditional=conditional)
        with pytest.raises(ConfigError, match=r"of letter it tells no encryption"):
            store.put("letter", b"rows")
    bucket.encrypts = True
    del bucket.objects["/lake/k"]
    assert put._put(store, "k", b"rows", conditional=conditional) is None
    assert put._put(store, "k", b"rows", conditional=conditional) == b"rows"
