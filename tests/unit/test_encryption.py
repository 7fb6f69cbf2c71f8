"""`headrace verify --encryption` and its remedy, against a bucket that does not encrypt by itself."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import orjson
import pytest
import yaml

from headrace.config.connect import Store
from headrace.errors import ConfigError
from headrace.lake import encryption
from headrace.stack.state import plain
from headrace.store.open import open_store
from tests.command import Run, run
from tests.secured.answers import Answers, answering
from tests.secured.bucket import Bucket, settings


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def server(bucket: Bucket) -> Iterator[Answers]:
    with answering(bucket.answer) as it:
        yield it


@pytest.fixture
def headrace(
    server: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Run]:
    """`headrace args...` with this store."""
    file = tmp_path / "headrace.yaml"
    file.write_text(yaml.safe_dump({"store": plain(settings(server.port)), "streams": {"imu": {}}}))
    return partial(run, monkeypatch, capfd, "--config", str(file))


def test_what_is_not_encrypted_is_listed_and_the_remedy_encrypts_it(
    bucket: Bucket, server: Answers, headrace: Callable[..., Run]
) -> None:
    plain = open_store(settings(server.port).model_copy(update={"sse": None}))
    for key in ("imu/a.parquet", "imu/b.parquet", "letter"):
        open_store(settings(server.port)).put(key, b"rows")
    plain.put("imu/old one.parquet", b"old rows")
    found = headrace("verify", "--encryption")
    assert found.returncode == 1
    assert found.stdout.splitlines() == ["3 objects encrypted: aws:kms", "imu/old one.parquet: not encrypted"]
    assert "1 of 4 objects are not encrypted so" in found.stderr
    assert "1 of 4 objects encrypted now" in headrace("archive", "encrypt").stderr
    assert bucket.objects["/lake/imu/old%20one.parquet"][0] == b"old rows"
    found = headrace("verify", "--encryption", "--json")
    assert (found.returncode, orjson.loads(found.stdout)["wrong"]) == (0, {})
    assert "all 4 objects are encrypted" in headrace("archive", "encrypt").stderr


def test_a_store_that_does_not_encrypt_is_said(bucket: Bucket, server: Answers, headrace: Callable[..., Run]) -> None:
    open_store(settings(server.port).model_copy(update={"sse": None})).put("k", b"rows")
    bucket.encrypts = False
    done = headrace("archive", "encrypt")
    assert done.returncode == 2
    assert "for k it reports no encryption. Use a store that encrypts" in done.stderr


def test_where_the_settings_ask_for_nothing_any_encryption_will_do(bucket: Bucket, server: Answers) -> None:
    open_store(settings(server.port)).put("k", b"rows")
    open_store(settings(server.port).model_copy(update={"sse": None})).put("plain", b"rows")
    config = settings(server.port).model_copy(update={"sse": None})
    report = encryption.check(encryption.told_by(open_store(config), config), ["k", "plain", "gone"], lambda _: None)
    assert (report.objects, report.wrong) == (2, {"plain": ""})


def test_other_kinds_of_store_say_what_is_so_there(tmp_path: Path) -> None:
    folder = Store(kind="folder", folder=tmp_path)
    with pytest.raises(ConfigError, match="Use an encrypted disk"):
        encryption.told_by(open_store(folder), folder)
    azure = Store.model_validate({"kind": "azure", "azure": {"account": "myaccount", "account_key": "eA=="}})
    with pytest.raises(ConfigError, match="Azure encrypts every blob"):
        encryption.told_by(open_store(azure), azure)
