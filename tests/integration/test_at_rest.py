"""What lies on the disk of the local stack's SeaweedFS is encrypted, with its own key or with one of a key server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.config.connect import Sse
from headrace.errors import HeadraceError, TransientError
from headrace.lake import encryption
from headrace.store.base import Encrypting
from tests.secured.answers import answering
from tests.secured.localstore import LocalStore, running
from tests.secured.transit import Transit, provider

pytestmark = pytest.mark.integration

WORDS = b"a reading that nobody else may read"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with running(tmp_path_factory.mktemp("rest") / "state") as it:
        yield it


def lies_there(server: LocalStore, words: bytes) -> bool:
    """Whether a file of the store's data holds these bytes."""
    files = [p for p in (server.state.data / "store").rglob("*") if p.is_file()]
    assert files
    return any(words in p.read_bytes() for p in files)


def test_no_byte_of_a_reading_is_found_in_the_stores_files(server: LocalStore) -> None:
    server.open(sse=None).put("plain", WORDS + b", in plain")
    assert lies_there(server, WORDS + b", in plain"), "else the test would prove nothing"
    small, large = b"small: nobody else may read it", b"large: nobody else may read it. " * 300_000
    server.open().put("small", small)
    server.open().put("large", large)
    assert (server.open().get("small"), server.open().get("large")) == (small, large)
    assert not lies_there(server, small)
    assert not lies_there(server, large[:32])


def test_what_is_encrypted_is_readable_after_a_restart(server: LocalStore) -> None:
    server.open().put("kept", WORDS)
    server.again()
    assert server.open().get("kept") == WORDS


def report(server: LocalStore, **over: Any) -> encryption.Report:
    store = server.open(**over)
    config = server.config.store.model_copy(update=over)
    return encryption.check(encryption.told_by(store, config), [o.key for o in store.list("")], lambda _: None)


def test_an_upgraded_installation_reads_and_encrypts_what_it_had(server: LocalStore) -> None:
    before = server.open(sse=None)
    before.put("old/file.parquet", WORDS)
    before.put("old/met again", WORDS)
    store = server.open()
    assert store.get("old/file.parquet") == WORDS
    assert {"old/file.parquet", "old/met again"} <= set(report(server).wrong)
    assert not store.put("old/met again", WORDS, if_absent=True), "an archive meets what it had begun to store"
    assert store.exists("old/file.parquet")
    assert not {"old/file.parquet", "old/met again"} & set(report(server).wrong)
    assert store.get("old/file.parquet") == store.get("old/met again") == WORDS


def test_the_remedy_encrypts_everything(server: LocalStore) -> None:
    server.open(sse=None).put("old/another", WORDS * 200_000)
    store = server.open()
    assert isinstance(store, Encrypting)
    wrong = list(report(server).wrong)
    assert "old/another" in wrong
    assert encryption.encrypt(store, wrong, lambda _: None) == len(wrong)
    assert report(server).wrong == {}
    assert store.get("old/another") == WORDS * 200_000


def test_a_key_server_can_rotate_its_key_or_take_it_away(tmp_path: Path) -> None:
    """SSE-KMS. Old objects stay readable after a rotation, and new ones use the new key; without the key nothing is."""
    keys = Transit("token", "lake", "next")
    with answering(keys.answer) as door, running(tmp_path / "state", {"kms": provider(door.port, "token")}) as server:
        lake, following = Sse(kind="kms", key="lake"), Sse(kind="kms", key="next")
        store = server.open(sse=lake)
        store.put("first", WORDS)
        assert keys.used[-1] == ("lake", 1)
        keys.rotate("lake")
        store.put("second", WORDS)
        assert keys.used[-1] == ("lake", 2)
        server.open(sse=following).put("third", WORDS)
        assert keys.used[-1] == ("next", 1)
        server.open().put("own", WORDS)
        assert {
            key: server.open(sse=following).get(key) for key in ("first", "second", "third", "own")
        } == dict.fromkeys(("first", "second", "third", "own"), WORDS)
        found = report(server, sse=following)
        assert found.by_key == {("aws:kms", "lake"): 2, ("aws:kms", "next"): 1}
        assert found.wrong == {"own": "AES256"}
        other = server.open(sse=following)
        assert isinstance(other, Encrypting)
        assert encryption.encrypt(other, found.wrong, lambda _: None) == 1
        assert report(server, sse=following).by_key["aws:kms", "next"] == 2
        assert other.get("own") == WORDS
        assert not lies_there(server, WORDS)
        server.again()
        assert server.open(sse=lake).get("first") == WORDS

        del keys.keys["lake"]
        with pytest.raises(HeadraceError):
            server.open(sse=lake).get("first")
        with pytest.raises(TransientError, match=r"Is the key in store\.sse\.key there"):
            server.open(sse=lake).put("fourth", WORDS)
        assert not server.open().exists("fourth")
        assert server.open(sse=following).get("third") == WORDS
