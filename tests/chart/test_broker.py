"""The bundled Mosquitto: two kinds of listeners, and the agent beside it."""

from pathlib import Path

import yaml

from headrace.config import load
from headrace.operate import mqttaccess
from tests.chart.conftest import Render
from tests.chart.helm import named


def test_the_agent_signals_the_broker_and_may_listen_to_it(render: Render) -> None:
    pod = named(render("dev"), "StatefulSet")["headrace-mosquitto"]["spec"]["template"]["spec"]
    assert pod["shareProcessNamespace"] is True
    assert pod["securityContext"]["runAsUser"] == 1883, "who may signal Mosquitto"
    broker, agent = pod["containers"]
    assert "hub" not in {mount["name"] for mount in broker["volumeMounts"]}
    assert {"name": "passwords", "mountPath": "/run/secrets/bundled", "readOnly": True} in agent["volumeMounts"]
    (users,) = (volume for volume in pod["volumes"] if volume["name"] == "passwords")
    assert [item["key"] for item in users["secret"]["items"]] == ["mqtt-password"]
    (hub,) = (volume for volume in pod["volumes"] if volume["name"] == "hub")
    assert hub["secret"]["items"] == [{"key": "broker-token", "path": "broker-token"}]
    assert {m["mountPath"] for m in agent["volumeMounts"]} >= {"/mosquitto/data", "/etc/headrace"}


def test_the_agent_s_configuration_gives_the_devices_their_rights(render: Render, tmp_path: Path) -> None:
    data = named(render("dev"), "ConfigMap")["headrace-mosquitto"]["data"]
    config = yaml.safe_load(data["headrace.yaml"])
    assert config["hub"].pop("token_file") == "/run/secrets/hub/broker-token"
    assert config["mqtt"].pop("password_file") == "/run/secrets/bundled/mqtt-password"
    assert (config["mqtt"]["host"], config["mqtt"]["port"]) == ("127.0.0.1", 1884)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert "pattern write sensors/%u/imu\n" in mqttaccess.devices(load(tmp_path / "c.yaml", {}))
    assert config["hub"]["url"] == "http://headrace-hub:8090"
    listeners = data["mosquitto.conf"].split("\nlistener ")[1:]
    assert [text.split("\n", 1)[0] for text in listeners] == ["1884", "1883", "9001", "8885"]
    assert ["use_username_as_clientid true" in text for text in listeners] == [False, True, True, True]


CERTIFIED = ("--set", "hub.devicesCa.existingSecret=ca", "--set", "bundled.mosquitto.tls.existingSecret=tls")


def test_with_an_authority_devices_come_in_by_certificate_and_only_hub_has_its_key(
    render: Render, tmp_path: Path
) -> None:
    shown = render("dev", *CERTIFIED)
    data = named(shown, "ConfigMap")["headrace-mosquitto"]["data"]
    listeners = data["mosquitto.conf"].split("\nlistener ")[1:]
    assert [text.split("\n", 1)[0] for text in listeners] == ["1884", "1883", "9001", "8885", "8883", "8884"]
    assert "cafile /mosquitto/tls/devices-ca.crt\n" in listeners[-1]
    assert "crlfile /mosquitto/data/devices/devices.crl\n" in listeners[-1]
    pod = named(shown, "StatefulSet")["headrace-mosquitto"]["spec"]["template"]["spec"]
    _, agent = pod["containers"]
    assert {"--certificates=127.0.0.1:8884", "--devices-ca=/mosquitto/tls/devices-ca.crt"} <= set(agent["command"])
    access = next(c for c in pod["initContainers"] if c["name"] == "access")
    assert access["command"][-1] == "/mosquitto/tls/devices-ca.crt", "a list to start with"
    (volume,) = (v for v in pod["volumes"] if v["name"] == "devices-ca")
    assert volume["secret"]["items"] == [{"key": "tls.crt", "path": "tls.crt"}]
    hub = yaml.safe_load(named(shown, "ConfigMap")["headrace"]["data"]["hub.yaml"])["hub"]["serve"]
    assert hub["devices_ca"]["key_file"] == "/run/secrets/headrace/devices-ca/tls.key"
    policy = named(shown, "NetworkPolicy")["headrace-mosquitto"]["spec"]["ingress"]
    assert {p["port"] for p in policy[-1]["ports"]} == {8883, 8884, 8885}, "with TLS, so for everybody"


def test_cert_manager_makes_an_authority_that_may_sign_lists(render: Render) -> None:
    shown = render(
        "dev", "--set", "hub.devicesCa.certManager=true", "--set", "bundled.mosquitto.tls.existingSecret=tls"
    )
    spec = named(shown, "Certificate")["headrace-devices-ca"]["spec"]
    assert (spec["isCA"], spec["usages"], spec["privateKey"]["rotationPolicy"]) == (
        True, ["cert sign", "crl sign"], "Never",
    )  # fmt: skip
    hub = named(shown, "Deployment")["headrace-hub"]["spec"]["template"]["spec"]
    (volume,) = (v for v in hub["volumes"] if v["name"] == "devices-ca")
    assert volume["secret"]["secretName"] == "headrace-devices-ca"
    assert [item["path"] for item in volume["secret"]["items"]] == ["tls.crt", "tls.key"]


def test_agent_and_hub_have_the_same_rules(render: Render) -> None:
    rule = "config.hub.behaviour.bytes.most=1000"
    maps = named(render("dev", "--set", rule), "ConfigMap")
    agent = yaml.safe_load(maps["headrace-mosquitto"]["data"]["headrace.yaml"])
    hub = yaml.safe_load(maps["headrace"]["data"]["hub.yaml"])
    assert agent["hub"]["behaviour"] == hub["hub"]["behaviour"] == {"bytes": {"most": 1000}}


def test_only_headrace_reaches_the_services_listener(render: Render) -> None:
    peer = "networkPolicy.devicesFrom[0].namespaceSelector.matchLabels.a=b"
    policy = named(render("dev", "--set", peer), "NetworkPolicy")["headrace-mosquitto"]["spec"]
    own, devices = policy["ingress"]
    assert [p["port"] for p in own["ports"]] == [1883, 8885, 1884, 9001, 8080]
    assert [p["port"] for p in devices["ports"]] == [1883, 8885, 9001]
    assert 8090 in {p["port"] for rule in policy["egress"] for p in rule["ports"]}


def test_the_services_connect_to_their_own_listener(render: Render) -> None:
    config = yaml.safe_load(named(render("dev"), "ConfigMap")["headrace"]["data"]["bridge.yaml"])
    assert (config["mqtt"]["port"], config["mqtt"]["devices"]["port"]) == (1884, 1883)
