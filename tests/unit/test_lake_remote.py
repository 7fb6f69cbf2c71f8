"""What DuckDB is told of the store."""

import importlib.util

import duckdb
import pytest

from headrace.config.connect import Store
from headrace.errors import ConfigError
from headrace.lake import remote

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("duckdb_extension_azure") is None, reason="duckdb-extension-azure is not installed"
)


def secret(url: str | None) -> str:
    """The secret as DuckDB shows it."""
    azure = {"account": "acct"} | ({"url": url} if url else {})
    with duckdb.connect() as lake:
        remote.attach(lake, Store.model_validate({"kind": "azure", "bucket": "lake", "azure": azure}))
        found = lake.execute("SELECT secret_string FROM duckdb_secrets()").fetchone()
    assert found is not None
    return str(found[0])


def test_with_workload_identity_a_sovereign_clouds_host_is_asked() -> None:
    assert "endpoint=blob.core.chinacloudapi.cn" in secret("https://acct.blob.core.chinacloudapi.cn/")
    assert "endpoint" not in secret(None)
    for url in ("https://lake.example.org", "http://acct.blob.core.windows.net", "https://acct.example.org/acct"):
        with pytest.raises(ConfigError, match="can be written but not queried"):
            secret(url)
