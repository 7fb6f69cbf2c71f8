"""What the archive asks of the store before it joins its group, and that nothing in plain counts as stored."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.config.model import Http
from headrace.errors import ConfigError, TransientError
from headrace.runtime import backoff
from headrace.runtime.health import Health
from headrace.store.base import ObjectInfo, ObjectStore
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


Put = Callable[[ObjectStore, str, bytes, bool], bool]


class Odd:
    """A store whose `put` is another one."""

    def __init__(self, put: Put, inner: ObjectStore | None = None) -> None:
        self._inner: ObjectStore = inner or World().store
        self._put = put

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        return self._put(self._inner, key, data, if_absent)

    def get(self, key: str) -> bytes:
        return self._inner.get(key)

    def put_file(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())

    def parts(self, key: str) -> Iterator[bytes]:
        yield self.get(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def exists(self, key: str) -> bool:
        return self._inner.exists(key)

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def ensure_bucket(self) -> None:
        self._inner.ensure_bucket()


def repeated(store: ObjectStore, key: str, data: bytes, if_absent: bool) -> bool:
    """The first answer is lost, and the HTTP client asks again."""
    store.put(key, data, if_absent=if_absent)
    return store.put(key, data, if_absent=if_absent)


def ignoring() -> ObjectStore:
    """A store that ignores the conditions of writes."""
    world = World()
    world.conditional = False
    return world.store


def test_a_store_that_ignores_conditions_is_recognised() -> None:
    stores: list[tuple[ObjectStore, bool]] = [(World().store, True), (ignoring(), False), (Odd(repeated), True)]
    for store, keeps in stores:
        assert put.keeps_conditions(store, KEY) is keeps
        assert not list(store.list(""))


def test_an_outage_is_waited_for_and_what_it_left_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.01)
    calls: list[object] = []

    def away(store: ObjectStore, key: str, data: bytes, if_absent: bool) -> bool:
        calls.append(health.is_ready()[1]["checks"]["store"])
        if len(calls) in {1, 3}:  # of the second attempt the first object stays
            raise TransientError("the store is away")
        return store.put(key, data, if_absent=if_absent)

    store, stop = Odd(away, ignoring()), threading.Event()
    with Health(Http(), ("store",)) as health, caplog.at_level(logging.WARNING):
        assert put.await_store(store, health, stop) is False
        assert calls[1:] == ["the store is away"] * 4
        assert not list(store.list(""))
        told = [r.message for r in caplog.records if "conditional" in r.message]
        assert told == ["the store has no conditional writes: the archive looks for each object before it writes it"]
        stop.set()
        assert put.await_store(store, health, stop) is None


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
    with (
        Health(Http(), ("store",)) as health,
        pytest.raises(ConfigError, match="it does not support what was asked: words"),
    ):
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
    lake = put.WriteOnce(store, conditional)
    for _ in range(3):
        with pytest.raises(ConfigError, match=r"for k it reports no encryption"):
            lake._put("k", b"rows")
        with pytest.raises(ConfigError, match=r"for letter it reports no encryption"):
            store.put("letter", b"rows")
    bucket.encrypts = True
    assert lake._put("k", b"rows") == b"rows"
    assert lake._put("new", b"rows") is None
    assert lake._put("new", b"rows") == b"rows"


@pytest.mark.parametrize("conditional", [True, False])
def test_what_is_older_than_the_setting_is_encrypted_when_it_is_met(
    bucket: Bucket, server: Answers, conditional: bool
) -> None:
    """An archive that died between its PUT and its commit is upgraded to one that encrypts: it must go on."""
    bucket.conditional = conditional
    before = settings(server.port).model_copy(update={"sse": None})
    open_store(before).put("k", b"rows")
    open_store(before).put("ledger", b"entry")
    assert bucket.objects["/lake/k"][1] == {}
    store = open_store(settings(server.port))
    assert put.WriteOnce(store, conditional)._put("k", b"rows") == b"rows"
    assert store.exists("ledger")
    for key, data in {"k": b"rows", "ledger": b"entry"}.items():
        assert bucket.objects[f"/lake/{key}"] == (data, {"x-amz-server-side-encryption": "aws:kms"})
