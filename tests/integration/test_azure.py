"""Azure Blob, on Microsoft's emulator: the store's contract, its refusals, and SQL over what lies there.

The emulator knows accounts' keys and SAS tokens. Workload Identity was tried as far as the request that asks for the
token: Entra ID itself never answered a test.
"""

import importlib.util
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.config import Config
from headrace.config.connect import Store
from headrace.errors import ConfigError, TransientError
from headrace.lake import layout, sql
from headrace.protocol.names import clean_topic
from headrace.store.open import open_store
from tests.secured import azurite
from tests.secured.answers import answering
from tests.storecontract import RULES, Rule

pytestmark = [pytest.mark.integration, pytest.mark.long]
CONTAINER = "lake"
WORKLOAD = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite.running(tmp_path_factory.mktemp("azurite"), CONTAINER) as it:
        yield it


def store(url: str, bucket: str = CONTAINER, **over: Any) -> Store:
    azure = {"account": azurite.ACCOUNT, "url": url, "account_key": azurite.KEY, **over}
    return Store.model_validate({"kind": "azure", "bucket": bucket, "timeout_seconds": 20, "azure": azure})


@pytest.mark.parametrize("rule", RULES)
def test_the_contract_of_stores_is_kept(rule: Rule, url: str) -> None:
    rule(open_store(store(url)), uuid.uuid4().hex)


def test_a_missing_container_is_named_with_the_remedy(url: str) -> None:
    missing = open_store(store(url, "nowhere"))
    for call in (missing.ensure_bucket, lambda: missing.put("k", b""), lambda: missing.get("k")):
        with pytest.raises(ConfigError, match=r"no container 'nowhere': create it"):
            call()


def test_a_wrong_key_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"refused the credentials.*Correct store\.azure"):
        open_store(store(url, account_key="d3Jvbmc=")).put("k", b"")


def test_one_that_is_away_is_waited_for() -> None:
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:1/headrace"):
        open_store(store("http://127.0.0.1:1/headrace")).get("k")


def test_without_key_the_pod_must_have_an_identity(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WORKLOAD:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="AZURE_FEDERATED_TOKEN_FILE"):
        open_store(store(url, account_key=None))


@pytest.mark.skipif(
    importlib.util.find_spec("duckdb_extension_azure") is None, reason="duckdb-extension-azure is not installed"
)
def test_rows_that_lie_there_are_queried(url: str, tmp_path: Path) -> None:
    stream = f"q{uuid.uuid4().hex[:6]}"
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"device_id": ["a", "b"], "ax": [1.0, 2.0]}), file)
    open_store(store(url)).put(layout.data_key(clean_topic(stream), "x", 0, 0, 1, "2026-01-02"), file.read_bytes())
    config = Config.model_validate({"store": store(url), "streams": {stream: {"contract": "imu"}}})
    words = f"select device_id, ax, date::varchar as day from {stream} order by 1"
    with sql.connect(config, words) as lake:
        assert sql.run(lake, words).fetchall() == [("a", 1.0, "2026-01-02"), ("b", 2.0, "2026-01-02")]
    wrong = Config.model_validate({"store": store(url, "nowhere"), "streams": {stream: {"contract": "imu"}}})
    with pytest.raises(ConfigError, match="nowhere"), sql.connect(wrong, words):
        pass


def test_workload_identity_trades_the_pods_token_for_one_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against stand-ins of Entra ID and of Blob: what is asked, and what is shown."""
    (tmp_path / "token").write_text("signed by the cluster")
    issued = b'{"access_token": "issued", "token_type": "Bearer", "expires_in": 3600}'
    with answering(lambda _: (200, {}, issued)) as entra, answering(lambda _: (201, {"ETag": '"1"'}, b"")) as blob:
        monkeypatch.setenv("AZURE_CLIENT_ID", "client-1")
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant-1")
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"http://127.0.0.1:{entra.port}")
        open_store(store(f"http://127.0.0.1:{blob.port}/headrace", account_key=None)).put("k", b"1", if_absent=True)
    assert entra.requests[0].path.startswith("/tenant-1/oauth2/v2.0/token")
    assert b"client_assertion=signed" in entra.requests[0].body
    assert blob.requests[0].headers["authorization"] == "Bearer issued"
    assert blob.requests[0].headers["if-none-match"] == "*"
    assert blob.requests[0].path.startswith("/headrace/lake/k")
