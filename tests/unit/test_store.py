from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from headrace.config.connect import Store
from headrace.errors import ConfigError, TransientError
from headrace.store.folder import FolderStore
from headrace.store.open import open_store
from headrace.store.s3 import S3Store
from tests.secured.answers import answering
from tests.storecontract import RULES, Rule


def folder(path: Path) -> FolderStore:
    store = open_store(Store(kind="folder", folder=path / "lake"))
    store.ensure_bucket()
    assert isinstance(store, FolderStore)
    return store


@pytest.mark.parametrize("rule", RULES)
def test_a_folder_keeps_the_contract(rule: Rule, tmp_path: Path) -> None:
    rule(folder(tmp_path), "x")


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


@pytest.mark.parametrize(
    ("page", "doing"),
    [
        (b"<html>back soon</html>", lambda store: store.put("a", b"rows", if_absent=True)),
        (b"<html>back soon</html>", lambda store: store.put("a", b"rows")),
        (b"<html>back soon<br>", lambda store: list(store.list("a"))),
    ],
)
def test_a_page_that_comes_instead_of_an_s3_server_is_an_outage(page: bytes, doing: Callable[[S3Store], Any]) -> None:
    """With status 200, as a load balancer's page for maintenance may have: nothing was stored."""
    keys = {"access_key": "a", "secret_key": "b" * 8}
    with answering(lambda _request: (200, {"Content-Type": "text/html"}, page)) as it:
        store = S3Store(Store.model_validate({"endpoint": f"127.0.0.1:{it.port}", "bucket": "lake", **keys}))
        with pytest.raises(TransientError, match="not an S3 answer, is something else listening there"):
            doing(store)
