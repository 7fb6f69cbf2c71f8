"""The chart's own SeaweedFS: what is rendered for it is what Compose's has, and the lake is encrypted."""

import base64
import tomllib
from pathlib import Path
from typing import Any

import yaml

from headrace.identity import ca
from headrace.identity.ca import Pair
from headrace.stack import store
from tests.chart.conftest import Render
from tests.chart.helm import named

ETC = Path("/etc/seaweedfs")


def secret(render: Render) -> dict[str, str]:
    found = named(render("dev"), "Secret")["headrace-bundled"]["data"]
    return {name: base64.b64decode(value).decode() for name, value in found.items()}


def test_its_security_is_composes(render: Render) -> None:
    told = tomllib.loads(secret(render)["security.toml"])
    composed = tomllib.loads(store.security({f"sign{n}": "key" for n in range(4)}, ETC))
    assert told["grpc"] == composed["grpc"]
    assert told["https"] == composed["https"]
    assert len(told["s3"]["sse"]["key"]) >= 32
    keys = [told["jwt"][name]["key"] for name in ("signing", "filer_signing")]
    keys += [told["jwt"][name]["read"]["key"] for name in ("signing", "filer_signing")]
    assert len(set(keys)) == 4


def test_its_certificate_is_of_an_authority_of_its_own_and_is_mounted_where_it_is_looked_for(render: Render) -> None:
    data = secret(render)
    assert ca.problems(Pair(data["store.pem"], data["store.key"]), data["store-ca.pem"], "it") == []
    names = {"localhost", "127.0.0.1", "headrace-store", "headrace-store.plant", "headrace-store.plant.svc"}
    assert set(ca.facts(data["store.pem"], "it").names) == names
    spec = named(render("dev"), "StatefulSet")["headrace-store"]["spec"]["template"]["spec"]
    (volume,) = [v for v in spec["volumes"] if v["name"] == "security"]
    assert {i["path"]: i["key"] for i in volume["secret"]["items"]} == {
        "security.toml": "security.toml", "s3.json": "s3.json", "ca.pem": "store-ca.pem", "store.pem": "store.pem",
        "store.key": "store.key",
    }  # fmt: skip


def config(render: Render, *args: str) -> Any:
    return yaml.safe_load(named(render("dev", *args), "ConfigMap")["headrace"]["data"]["archive.yaml"])


def test_clients_reach_it_over_tls_by_a_name_in_its_certificate(render: Render) -> None:
    found = config(render)["store"]
    assert found["endpoint"] == "headrace-store:8333"
    assert found["tls"] == {"enabled": True, "ca_file": "/run/secrets/headrace/store-tls/ca.crt"}
    for kind, name in {"Deployment": "headrace-archive", "StatefulSet": "headrace-bridge"}.items():
        spec = named(render("dev"), kind)[name]["spec"]["template"]["spec"]
        (volume,) = [v for v in spec["volumes"] if v["name"] == "store-tls"]
        assert volume["secret"]["secretName"] == "headrace-bundled"
        assert volume["secret"]["items"] == [{"key": "store-ca.pem", "path": "ca.crt"}], "no key of the store"


def test_the_lake_is_encrypted_by_default(render: Render) -> None:
    assert config(render)["store"]["sse"] == {"kind": "s3"}
    kms = ("--set", "config.store.sse.kind=kms", "--set", "config.store.sse.key=lake")
    assert config(render, *kms)["store"]["sse"] == {"kind": "kms", "key": "lake"}
