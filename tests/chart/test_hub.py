"""Hub in the chart: its database, its tokens, who reaches it, and that it loads what it is given."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import Config, load
from headrace.config.check import Service, problems
from tests.chart.api import Object
from tests.chart.conftest import Render
from tests.chart.helm import Helm, named, services

NAME = "headrace-hub"


def settings(objects: list[Object], role: str, folder: Path) -> Config:
    """The configuration as the role's process loads it, with its secrets in `folder`."""
    (config,) = (m for m in named(objects, "ConfigMap").values() if f"{role}.yaml" in m["data"])
    text = config["data"][f"{role}.yaml"].replace("/run/secrets/headrace", str(folder))
    file = folder / "headrace.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, {})


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What is mounted under /run/secrets/headrace."""
    for name in ("hub/admin-token", "hub/broker-token", "hub/database", "metrics/token"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"postgresql://user:secret@host/{name}")
    return tmp_path


def mounted(pod: Object) -> dict[str, Any]:
    return {v["name"]: v for v in pod["spec"]["volumes"]}


def test_without_a_database_it_has_sqlite_on_a_volume_that_outlives_the_release(render: Render, secrets: Path) -> None:
    objects = render("minimal")
    deployment = named(objects, "Deployment")[NAME]
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert named(objects, "PersistentVolumeClaim")[NAME]["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }
    volumes = mounted(deployment["spec"]["template"])
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": NAME}
    config = settings(objects, "hub", secrets)
    assert problems(config, [Service.HUB]) == []
    assert config.hub.serve.database is not None
    path = config.hub.serve.database.get_secret_value().removeprefix("sqlite:///")
    (mount,) = (
        m for m in deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] if m["name"] == "data"
    )
    assert path.startswith(mount["mountPath"] + "/")
    assert set(named(objects, "Secret")[NAME]["data"]) == {"admin-token", "broker-token"}


def test_with_postgresql_several_run_and_none_has_a_volume(render: Render, secrets: Path) -> None:
    objects = render("hub")
    deployment = named(objects, "Deployment")[NAME]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    assert NAME not in named(objects, "PersistentVolumeClaim")
    assert NAME not in named(objects, "Secret")
    sources = mounted(deployment["spec"]["template"])["hub"]["projected"]["sources"]
    assert [s["secret"]["name"] for s in sources] == ["headrace-tokens", "headrace-database"]
    assert {i["key"]: i["path"] for s in sources for i in s["secret"]["items"]} == {
        "first": "admin-token", "second": "broker-token", "uri": "database",
    }  # fmt: skip
    config = settings(objects, "hub", secrets)
    assert problems(config, [Service.HUB]) == []
    assert config.hub.serve.database is not None
    assert config.hub.serve.database.get_secret_value().startswith("postgresql://")
    assert {NAME, f"{NAME}.plant.svc", "devices.iot.example", "devices.intern"} <= set(config.hub.serve.hosts)
    assert config.hub.serve.oidc is not None
    assert config.hub.serve.oidc.roles == {"platform-team": "admin"}


def test_its_streams_are_there_for_who_makes_cleans_and_stores_them(render: Render, secrets: Path) -> None:
    for role in ("clean", "archive", "topics", "contracts", "tools", "hub"):
        streams = settings_streams(render("hub"), role)
        assert streams["device_events"]["partitions"] == 3, role
        assert streams["device_audit"]["partitions"] == 1, role
    assert "device_audit" not in settings_streams(render("hub"), "bridge")
    off = render("minimal", "--set", "hub.enabled=false")
    assert NAME not in named(off, "Deployment")
    assert set(settings_streams(off, "clean")) == {"environment"}


def settings_streams(objects: list[Object], role: str) -> dict[str, Any]:
    (text,) = (m["data"][f"{role}.yaml"] for m in named(objects, "ConfigMap").values() if f"{role}.yaml" in m["data"])
    found: dict[str, Any] = yaml.safe_load(text)["streams"]
    return found


def test_its_api_is_open_to_the_release_and_to_those_named_and_it_reaches_its_database(render: Render) -> None:
    policy = named(render("hub"), "NetworkPolicy")[NAME]["spec"]
    (api,) = (rule for rule in policy["ingress"] if rule["ports"] == [{"protocol": "TCP", "port": 8090}])
    assert [list(peer) for peer in api["from"]] == [["podSelector"], ["namespaceSelector"]]
    ports = [p["port"] for rule in policy["egress"] for p in rule["ports"]]
    assert 6432 in ports
    assert 8443 in ports, "the identity provider"
    assert 8333 not in ports, "it does not need the object store"
    alone = named(render("minimal"), "NetworkPolicy")[NAME]["spec"]
    assert 5432 not in [p["port"] for rule in alone["egress"] for p in rule["ports"]]


def test_its_console_may_ask_how_the_services_are(render: Render, secrets: Path) -> None:
    objects = render("hub", "--set", "networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus")
    watched = settings(objects, "hub", secrets).hub.serve.watch
    assert watched.pop("hub") == "http://127.0.0.1:8080"
    assert set(watched) == {"bridge", "clean", "archive", "compact", "ingest"}
    policies = named(objects, "NetworkPolicy")
    egress = policies[NAME]["spec"]["egress"]
    for name, url in watched.items():
        host, _, port = url.removeprefix("http://").partition(":")
        service, policy = named(objects, "Service")[host], policies[f"headrace-{name}"]["spec"]
        assert service["spec"]["clusterIP"] == "None", "each pod has an address of its own"
        assert int(port) in [p["port"] for p in service["spec"]["ports"]]
        to = {"podSelector": policy["podSelector"]}
        assert any(rule.get("to") == [to] and rule["ports"][0]["port"] == int(port) for rule in egress)
        (rule,) = (r for r in policy["ingress"] if r["ports"][0]["port"] == int(port))
        assert {"podSelector": policies[NAME]["spec"]["podSelector"]} in rule["from"]


def test_the_ingress_leads_to_the_api_with_tls(render: Render) -> None:
    objects = render("hub")
    ingress = named(objects, "Ingress")[NAME]["spec"]
    assert ingress["tls"] == [{"hosts": ["devices.iot.example"], "secretName": "devices-tls"}]
    (rule,) = ingress["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = named(objects, "Service")[backend["name"]]
    (port,) = (p for p in service["spec"]["ports"] if p["name"] == backend["port"]["name"])
    (pod,) = (pod for name, pod in services(objects).items() if name.endswith("hub"))
    assert {"name": port["targetPort"], "containerPort": 8090, "protocol": "TCP"} in pod["spec"]["containers"][0][
        "ports"
    ]


def test_readings_over_http_are_taken_where_hub_is(render: Render, secrets: Path) -> None:
    objects = render("hub")
    (pod,) = (pod for name, pod in services(objects).items() if name.endswith("ingest"))
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["ingest"]
    assert {"name": "api", "containerPort": 8091, "protocol": "TCP"} in container["ports"]
    assert mounted(pod)["hub"]["secret"]["items"] == [{"key": "second", "path": "broker-token"}]
    for name in ("store/access-key", "store/secret-key"):
        (secrets / name).parent.mkdir(exist_ok=True)
        (secrets / name).write_text("key")
    config = settings(objects, "ingest", secrets)
    assert problems(config, [Service.INGEST]) == []
    assert (config.ingest.host, config.ingest.port) == ("0.0.0.0", 8091)
    assert config.hub.url == f"http://{NAME}:8090"
    assert config.hub.token is not None
    policy = named(objects, "NetworkPolicy")["headrace-ingest"]["spec"]
    (api,) = (rule for rule in policy["ingress"] if rule["ports"] == [{"protocol": "TCP", "port": 8091}])
    assert [list(peer) for peer in api["from"]] == [["podSelector"], ["namespaceSelector"]]
    ports = {p["port"] for rule in policy["egress"] for p in rule["ports"]}
    assert {8090, 9092, 8333} <= ports
    assert 6432 not in ports, "it does not need the database"
    assert named(objects, "Ingress")["headrace-ingest"]["spec"]["tls"][0]["secretName"] == "readings-tls"
    scaler = named(objects, "HorizontalPodAutoscaler")["headrace-ingest"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert "replicas" not in named(objects, "Deployment")["headrace-ingest"]["spec"]
    for off in ("hub.enabled=false", "ingest.enabled=false"):
        assert not [o for o in render("minimal", "--set", off) if o["metadata"]["name"].endswith("-ingest")]


@pytest.mark.parametrize(
    ("case", "setting", "said"),
    [
        ("minimal", "hub.replicas=2", "hub.replicas: SQLite is for one hub"),
        ("minimal", "hub.ingress.enabled=true,hub.ingress.host=x", "hub.ingress: give host and tlsSecret"),
        ("minimal", "ingest.ingress.enabled=true,ingest.ingress.host=x", "ingest.ingress: give host and tlsSecret"),
        ("minimal", "ingest.autoscaling.kind=keda", "kind"),
        ("shipped-aks", "ingest.podLabels=null", "ingest.podLabels: azure.workload.identity/use"),
        ("hub", "hub.database.existingSecret=", "hub.replicas: SQLite is for one hub"),
        ("hub", "hub.databse.port=1", "databse"),
        ("hub", "config.hub.token=secret", "token"),
        ("shipped-aks", "hub.podLabels=null", "hub.podLabels: azure.workload.identity/use"),
    ],
)
def test_what_does_not_hold_is_refused(case: str, setting: str, said: str, helm4: Helm) -> None:
    assert said in helm4.refused(case, "--set", setting)
