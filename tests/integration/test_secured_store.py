"""A real SeaweedFS with TLS: the store's contract, encryption, SQL; and certificates that are refused."""

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
from headrace.operate import doctor
from headrace.store.base import Encrypting
from headrace.store.open import open_store
from tests.secured import seaweed
from tests.secured.certs import Certs
from tests.secured.front import front
from tests.secured.seaweed import Server
from tests.storecontract import RULES, Rule

pytestmark = pytest.mark.integration
SELECT = "select device_id, date::varchar as day from walks"


@pytest.fixture(scope="module")
def server(certs: Certs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with seaweed.running(tmp_path_factory.mktemp("weed"), certs.servers["good"]) as it:
        seaweed.opened(settings(it, certs))
        yield it


def settings(server: Server, certs: Certs, port: int = 0, **over: Any) -> Store:
    endpoint = {"endpoint": f"127.0.0.1:{port}"} if port else {}
    tls = {"enabled": True, "ca_file": str(certs.ca)}
    return Store.model_validate({**server.settings, **endpoint, "tls": tls, **over})


@pytest.mark.parametrize("rule", RULES)
def test_the_contract_of_stores_is_kept(rule: Rule, server: Server, certs: Certs) -> None:
    rule(open_store(settings(server, certs)), uuid.uuid4().hex)


def test_encryption_with_the_stores_own_key_is_asked_for_and_given(server: Server, certs: Certs) -> None:
    store = open_store(settings(server, certs, sse={"kind": "s3"}))
    store.put("secret", b"rows")
    assert store.get("secret") == b"rows"
    assert store.exists("secret")
    assert not store.put("secret", b"others", if_absent=True)
    assert isinstance(store, Encrypting)
    plain = open_store(settings(server, certs))
    plain.put("plain", b"rows")
    assert not store.encryption("plain").as_asked
    assert store.exists("plain")
    assert store.encryption("plain").as_asked
    plain.put("plain", b"rows")
    assert not store.put("plain", b"other rows", if_absent=True)
    assert store.encryption("plain").as_asked
    assert store.get("plain") == b"rows"


def test_the_doctor_finds_a_bucket_that_is_missing(server: Server, certs: Certs) -> None:
    assert "bucket lake" in doctor._store(Config(store=settings(server, certs)))
    with pytest.raises(ConfigError, match="no bucket 'nowhere'"):
        doctor._store(Config(store=settings(server, certs, bucket="nowhere")))


def test_encryption_that_it_can_not_do_is_no_success(server: Server, certs: Certs) -> None:
    """SeaweedFS without a KMS answers with an error: nothing lies there unencrypted."""
    store = open_store(settings(server, certs, sse={"kind": "kms", "key": "none"}))
    with pytest.raises((TransientError, ConfigError)):
        store.put("kms", b"rows")
    assert not open_store(settings(server, certs)).exists("kms")


def lake(store: Store) -> Config:
    return Config.model_validate({"store": store, "streams": {"walks": {"contract": "imu"}}})


def test_sql_reads_over_tls(server: Server, certs: Certs, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"device_id": ["a"]}), file)
    open_store(settings(server, certs)).put(
        layout.data_key("walks.clean", "x", 0, 0, 1, "2026-01-02"), file.read_bytes()
    )
    with sql.connect(lake(settings(server, certs)), SELECT) as db:
        assert sql.run(db, SELECT).fetchall() == [("a", "2026-01-02")]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unknown", "unable to get local issuer certificate. Set store.tls.ca_file"),
        ("expired", "certificate has expired. Renew it at the server"),
        ("elsewhere", "certificate is not valid for '127.0.0.1'. Correct store.endpoint"),
    ],
)
def test_a_bad_certificate_is_refused_by_the_store_and_by_sql(
    what: str, words: str, server: Server, certs: Certs
) -> None:
    host, port = server.settings["endpoint"].split(":")
    with front(host, int(port), certs.servers[what]) as door:
        store = settings(server, certs, door.port)
        with pytest.raises(ConfigError) as error:
            open_store(store).exists("x")
        assert words in str(error.value)
        with pytest.raises(ConfigError) as error, sql.connect(lake(store), SELECT):
            pass
        assert words in str(error.value)


def test_what_duckdb_can_not_do_is_said(server: Server, certs: Certs) -> None:
    tls = {"enabled": True, "ca_file": str(certs.ca), "cert_file": str(certs.client.cert)}
    store = settings(server, certs, tls={**tls, "key_file": str(certs.client.key)})
    with pytest.raises(ConfigError, match="DuckDB can't send a client certificate"), sql.connect(lake(store), SELECT):
        pass
