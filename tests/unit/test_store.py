from pathlib import Path

import pytest
from pydantic import SecretStr

from headrace.config.connect import Store
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.store.folder import FolderStore
from headrace.store.open import open_store
from headrace.store.s3 import S3Store


def folder(path: Path) -> FolderStore:
    store = open_store(Store(kind="folder", folder=path / "lake"))
    store.ensure_bucket()
    assert isinstance(store, FolderStore)
    return store


def test_what_is_put_is_got(tmp_path: Path) -> None:
    store = folder(tmp_path)
    assert store.put("imu/date=2026-01-02/a-b.parquet", b"rows")
    assert store.get("imu/date=2026-01-02/a-b.parquet") == b"rows"
    assert store.exists("imu/date=2026-01-02/a-b.parquet")
    assert not store.exists("imu/date=2026-01-02/other")


def test_a_conditional_put_keeps_what_is_there(tmp_path: Path) -> None:
    store = folder(tmp_path)
    assert store.put("k", b"first", if_absent=True)
    assert not store.put("k", b"second", if_absent=True)
    assert store.get("k") == b"first"
    assert store.put("k", b"third")
    assert store.get("k") == b"third"


def test_a_listing_holds_what_lies_under_the_prefix(tmp_path: Path) -> None:
    store = folder(tmp_path)
    for key in ("a/1", "a/b/2", "ab/3"):
        store.put(key, b"123")
    assert sorted(i.key for i in store.list("a/")) == ["a/1", "a/b/2"]
    assert {i.size for i in store.list("")} == {3}
    assert list(store.list("none/")) == []


def test_delete_is_fine_twice_and_get_of_nothing_says_so(tmp_path: Path) -> None:
    store = folder(tmp_path)
    store.put("k", b"")
    store.delete("k")
    store.delete("k")
    with pytest.raises(FatalError, match="no object k"):
        store.get("k")


def test_a_folder_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        FolderStore(tmp_path / "none").put("k", b"")
    with pytest.raises(ConfigError, match=r"store\.folder"):
        open_store(Store(kind="folder"))


def test_an_s3_store_needs_keys() -> None:
    with pytest.raises(ConfigError, match="access_key"):
        open_store(Store())


def test_an_s3_store_that_is_away_is_transient() -> None:
    config = Store(endpoint="127.0.0.1:1", access_key=SecretStr("a"), secret_key=SecretStr("b"))
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1"):
        S3Store(config).get("k")
