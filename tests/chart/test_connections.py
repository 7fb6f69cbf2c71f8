"""Ways in: passwords, tokens, identities and how they reach each pod, and where each pod may go for them."""

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from headrace.config import Config, load
from headrace.lake import waiting
from headrace.lake.flow import Watcher
from tests.chart.api import Object
from tests.chart.conftest import Render
from tests.chart.helm import Helm, named, services, templates

OIDC = {
    "kafka": {
        "bootstrap": "kafka.iot.svc:9093",
        "tls": {"enabled": True},
        "sasl": {
            "mechanism": "OAUTHBEARER",
            "token": {"kind": "oidc", "url": "https://login.iot.example:8443/token", "client_id": "headrace"},
        },
    }
}


@pytest.fixture
def overlay(tmp_path: Path) -> Any:
    """`overlay(values)`: the arguments that lay them over a case's."""

    def write(values: Object) -> tuple[str, str]:
        file = tmp_path / "overlay.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        return "-f", str(file)

    return write


class Quiet:
    """A flow in which everything is stored."""

    def snapshot(self) -> "Quiet":
        return self

    def pending(self) -> list[str]:
        return []

    def ends(self) -> dict[tuple[str, int], int]:
        return {}


@pytest.mark.parametrize("port", [None, 9101])
def test_verify_finds_in_its_pod_that_all_is_stored(
    port: int | None, render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bridge listens in the pod of `verify`: the ends of the logs tell, whichever port the bridge has elsewhere."""
    objects = render("dev", *(("--set", f"config.bridge.http.port={port}") if port else ()))
    monkeypatch.setattr(waiting, "_QUIET_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "_EVERY_SECONDS", 0.0)
    config = _config(objects, "tools", tmp_path)
    assert waiting.wait_stored(config, cast("Watcher", Quiet()), 5) == []
    assert _config(objects, "bridge", tmp_path).bridge.http.port == (port or 8080)


def test_verify_waits_only_when_told_to(render: Render) -> None:
    """Devices that never pause never leave all stored: a wait would end in a failed Job every night."""
    argv = {a: _argv(render("minimal", *a), "verify") for a in ((), ("--set", "verify.wait=60"))}
    assert argv[()] == ["verify", "--wait", "0"]
    assert argv["--set", "verify.wait=60"] == ["verify", "--wait", "60"]


def test_dead_letters_are_kept_by_a_schedule_that_is_asked_for(render: Render) -> None:
    suspended = {
        a: named(render("minimal", *a), "CronJob")["headrace-letters"]["spec"]["suspend"]
        for a in ((), ("--set", "letters.scheduled=true"))
    }
    assert suspended == {(): True, ("--set", "letters.scheduled=true"): False}
    assert _argv(render("minimal"), "letters") == ["dlq", "archive"]
    assert named(render("minimal"), "NetworkPolicy").keys() >= {"headrace-letters"}


FILES = {
    "contracts": {"pump.avsc": "{}\n"},
    "transforms": {"pump.py": "def transform(df):\n    return df\n"},
    "formats": {"device.avsc": "{}\n", "reading.desc": "AAEC"},
}


def test_files_are_where_they_are_read_and_replace_no_other_pod(overlay: Any, helm4: Helm) -> None:
    objects = helm4.render("minimal", *overlay({kind: {"files": files} for kind, files in FILES.items()}))
    maps = named(objects, "ConfigMap")
    assert maps["headrace-formats"]["binaryData"] == {"reading.desc": "AAEC"}
    for kind, files in FILES.items():
        assert maps[f"headrace-{kind}"]["data"] == {name: text for name, text in files.items() if text != "AAEC"}
    bare = services(helm4.render("minimal"))
    mounted, replaced = {}, {}
    for name, pod in services(objects).items():
        paths = {m["mountPath"].rpartition("/")[2] for m in pod["spec"]["containers"][0]["volumeMounts"]}
        mounted[name] = paths & FILES.keys()
        replaced[name] = pod["metadata"]["annotations"] != bare[name]["metadata"]["annotations"]
    assert mounted["headrace-bridge"] == {"contracts", "formats"}
    assert mounted["headrace-clean"] == {"transforms"}
    assert mounted["headrace-archive"] == set()
    assert {name for name, is_new in replaced.items() if is_new} == {name for name, paths in mounted.items() if paths}


def test_a_file_of_another_kind_is_refused_by_name(overlay: Any, helm4: Helm) -> None:
    assert "reading.proto" in helm4.refused("minimal", *overlay({"formats": {"files": {"reading.proto": ""}}}))


@pytest.mark.parametrize(
    ("case", "sasl"),
    [
        ("shipped-aks", {"mechanism": "PLAIN", "username": "$ConnectionString"}),
        ("shipped-eks", {"mechanism": "SCRAM-SHA-512", "username": "headrace"}),
        ("shipped-eks", {"mechanism": "SCRAM-SHA-512", "username": "headrace", "token": None}),
    ],
)
def test_a_password_over_values_with_a_token(
    case: str, sasl: Object, overlay: Any, helm3: Helm, helm4: Helm, tmp_path: Path
) -> None:
    """Helm merges: what shipped values say of tokens is still there below another mechanism."""
    for helm in (helm3, helm4):
        objects = helm.render(case, *overlay({"config": {"kafka": {"sasl": sasl}}, "kafka": {"existingSecret": "s"}}))
        for role in ("bridge", "clean", "archive", "topics", "tools"):
            kafka = _config(objects, role, tmp_path).kafka
            assert kafka.sasl is not None
            assert (kafka.sasl.mechanism, kafka.sasl.token) == (sasl["mechanism"], None)
            assert kafka.sasl.password is not None


@pytest.mark.parametrize(
    ("case", "over"),
    [
        ("shipped-eks", {"config": {"kafka": {"sasl": None}, "store": {"sse": None}}}),
        ("shipped-aks", {"config": {"kafka": {"sasl": None, "tls": {"ca_file": None}}}}),
        (
            "shipped-aks",
            {
                "config": {"kafka": {"sasl": None}, "store": {"kind": "s3", "endpoint": "s3:9000", "azure": None}},
                "store": {"existingSecret": "keys"},
            },
        ),
    ],
)
def test_a_null_takes_a_setting_away(
    case: str, over: Object, overlay: Any, helm3: Helm, helm4: Helm, tmp_path: Path
) -> None:
    for helm in (helm3, helm4):
        objects = helm.render(case, *overlay(over | {"kafka": {"anonymous": True}}))
        for role in ("bridge", "clean", "archive", "tools"):
            config = _config(objects, role, tmp_path)
            assert config.kafka.sasl is None
            assert config.store.sse is None
            assert (config.store.azure is None) == (config.store.kind == "s3")


@pytest.mark.parametrize("kind", ["oidc", "azure"])
def test_the_client_secret_of_a_token_is_a_secret(kind: str, overlay: Any, helm4: Helm, tmp_path: Path) -> None:
    if kind == "oidc":
        case, given = "minimal", {"config": OIDC, "kafka": {"anonymous": False}}
    else:
        # The account's key, so that no pod needs an identity.
        roles = ("bridge", "clean", "archive", "provision")
        case, given = "shipped-aks", {"store": {"existingSecret": "account"}} | {r: {"podLabels": None} for r in roles}
    files = overlay(given)
    message = helm4.refused(case, *files)
    assert "kafka.existingSecret" in message
    objects = helm4.render(case, *files, "--set", "kafka.existingSecret=app,kafka.passwordKey=key")
    for role in ("bridge", "clean", "archive", "tools"):
        sasl = _config(objects, role, tmp_path).kafka.sasl
        assert sasl is not None
        assert sasl.token is not None
        assert sasl.token.client_secret is not None
        assert sasl.password is None
    for pod in services(objects).values():
        for volume in pod["spec"]["volumes"]:
            if volume["name"] == "kafka":
                assert volume["secret"]["secretName"] == "app"
                assert volume["secret"]["items"] == [{"key": "key", "path": "client-secret"}]
    assert "Leave one out" in helm4.refused(
        case, *files, "--set", "kafka.existingSecret=app,config.kafka.sasl.token.client_assertion_file=/token"
    )


def test_a_token_that_is_signed_takes_no_secret(helm4: Helm) -> None:
    assert "kafka.existingSecret: " in helm4.refused("shipped-eks", "--set", "kafka.existingSecret=s")


def test_the_label_of_the_identity_may_be_common(overlay: Any, helm4: Helm) -> None:
    label = {"azure.workload.identity/use": "true"}
    roles = ("bridge", "clean", "archive", "provision")
    objects = helm4.render("shipped-aks", *overlay({"commonLabels": label} | {r: {"podLabels": None} for r in roles}))
    for name, pod in services(objects).items():
        if name.rpartition("-")[2] in roles:
            assert label.items() <= pod["metadata"]["labels"].items(), name
    # Once, where both say it; and the pods' own counts.
    both = helm4.render("shipped-aks", *overlay({"commonLabels": {"azure.workload.identity/use": "no", "a": "b"}}))
    assert services(both)["headrace-bridge"]["metadata"]["labels"].items() >= (label | {"a": "b"}).items()


def test_a_variable_of_a_connection_goes_where_the_connection_is(overlay: Any, helm4: Helm) -> None:
    names = ("HEADRACE_KAFKA__SASL__USERNAME", "headrace_store__region", "TZ", "KAFKA__HOME")
    given = [{"name": n, "value": "x"} for n in names]
    objects = helm4.render("observability", *overlay({r: {"extraEnv": given} for r in ("bridge", "provision")}))
    found = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: {v["name"] for v in _env(pod)} & set(names)
        for _, pod in templates(objects)
    }
    everywhere = {"TZ", "KAFKA__HOME"}
    assert found["bridge"] == found["verify"] == found["selftest"] == set(names)
    assert found["topics"] == everywhere | {"HEADRACE_KAFKA__SASL__USERNAME"}
    assert found["bucket"] == everywhere | {"headrace_store__region"}
    assert found["contracts"] == everywhere
    assert found["broker-metrics"] == found["clean"] == set()


def test_a_secret_in_plain_is_refused_for_every_pod(helm4: Helm) -> None:
    for pods in ("bridge", "clean", "derive", "archive", "provision"):
        variable = f"{pods}.extraEnv[0].name=HEADRACE_KAFKA__SASL__PASSWORD,{pods}.extraEnv[0].value=x"
        message = helm4.refused("minimal", "--set", variable)
        assert f"{pods}.extraEnv: HEADRACE_KAFKA__SASL__PASSWORD: a secret in plain" in message


def test_the_brokers_figures_need_nothing_of_the_bridge(overlay: Any, helm4: Helm) -> None:
    bridge = {
        "podLabels": {"azure.workload.identity/use": "true"},
        "podAnnotations": {"vault": "inject"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}},
        "nodeSelector": {"disk": "fast"},
    }
    objects = helm4.render("observability", *overlay({"bridge": bridge}))
    pod = services(objects)["headrace-broker-metrics"]
    account = named(objects, "ServiceAccount")[pod["spec"]["serviceAccountName"]]["metadata"]
    assert account["name"] == "headrace-broker-metrics"
    assert "annotations" not in account
    assert "azure.workload.identity/use" not in pod["metadata"]["labels"]
    assert "vault" not in pod["metadata"]["annotations"]
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}


def test_pods_may_go_where_their_tokens_come_from(overlay: Any, helm4: Helm) -> None:
    given = {
        "config": OIDC,
        "kafka": {"anonymous": False, "existingSecret": "app"},
        "monitoring": {"kind": "podMonitor"},
    }
    ports = _out(helm4.render("minimal", *overlay(given)))
    for component in ("bridge", "clean", "archive", "topics", "verify", "selftest"):
        assert 8443 in ports[component], component
    for component in ("contracts", "bucket", "broker-metrics"):
        assert 8443 not in ports[component], component
    authority = (
        "config.kafka.sasl.token.authority=http://login.iot.example,config.store.azure.url=http://azurite:10000/a"
    )
    ports = _out(helm4.render("shipped-aks", "--set", authority))
    assert {80, 443, 10000} <= ports["clean"]
    assert 10000 not in ports["contracts"]
    assert {80, 443}.isdisjoint(ports["contracts"] - {8080})
    assert 443 in _out(helm4.render("shipped-aks"))["clean"]


def test_pods_may_ask_the_agent_of_pod_identity_by_either_protocol(helm4: Helm) -> None:
    objects = helm4.render("shipped-eks", "--set", "monitoring.kind=podMonitor")
    for name, policy in named(objects, "NetworkPolicy").items():
        rules = policy["spec"]["egress"]
        blocks = {to["ipBlock"]["cidr"] for r in rules for to in r.get("to", []) if "ipBlock" in to}
        has = name.removeprefix("headrace-") not in {"broker-metrics", "contracts", "mosquitto", "registry"}
        assert blocks == ({"169.254.170.23/32", "fd00:ec2::23/128"} if has else set()), name


def _out(objects: list[Object]) -> dict[str, set[int]]:
    """The ports that each component may go to."""
    return {
        p["metadata"]["labels"]["app.kubernetes.io/component"]: {
            port["port"] for rule in p["spec"]["egress"] for port in rule.get("ports", [])
        }
        for p in named(objects, "NetworkPolicy").values()
    }


def _env(pod: Object) -> list[Object]:
    return [v for c in pod["spec"]["containers"] for v in c.get("env", [])]


def _argv(objects: list[Object], component: str) -> list[str]:
    (argv,) = (
        it["args"] for _, pod in templates(objects) for it in pod["spec"]["containers"] if it["name"] == component
    )
    return cast("list[str]", argv)


def _config(objects: list[Object], role: str, folder: Path) -> Config:
    """What a process of that role loads; whatever is mounted into its pod is there."""
    (text,) = (m["data"][f"{role}.yaml"] for m in named(objects, "ConfigMap").values() if f"{role}.yaml" in m["data"])
    file = folder / f"{role}.yaml"
    secret = folder / "secret"
    secret.write_text("secret", encoding="utf-8")
    given = yaml.safe_load(text)
    _replace(given, str(secret))
    file.write_text(yaml.safe_dump(given), encoding="utf-8")
    return load(file, {})


def _replace(node: Any, secret: str) -> None:
    """Every file below /run/secrets is this one."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, str) and value.startswith("/run/secrets/"):
            node[key] = secret
        _replace(value, secret)
