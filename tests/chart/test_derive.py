"""Derive: rendered where a stream is made of another, and nowhere else; with what it needs, and no more."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import Config, load
from headrace.config.check import Service, problems
from tests.chart.api import Object
from tests.chart.conftest import Render
from tests.chart.helm import Helm, named, services

NAME = "headrace-derive"
DERIVED = "config.streams.warm.from=environment,config.streams.warm.transform=transforms/warm.py"
KEDA = f"{DERIVED},derive.autoscaling.kind=keda,config.streams.environment.partitions=6"


def test_without_a_derived_stream_nothing_of_it_is_there(render: Render) -> None:
    objects = render("minimal")
    assert [o["metadata"]["name"] for o in objects if o["metadata"]["name"].endswith("-derive")] == []
    (settings,) = (m["data"] for m in named(objects, "ConfigMap").values() if "clean.yaml" in m["data"])
    assert "derive.yaml" not in settings
    assert "derive" not in yaml.safe_load(settings["hub.yaml"])["hub"]["serve"]["watch"]


def test_one_that_is_left_out_of_derive_streams_needs_no_process(render: Render) -> None:
    assert NAME not in services(render("minimal", "--set", "config.derive.streams={environment}"))


def test_with_one_it_is_a_service_like_the_others(render: Render) -> None:
    objects = render("observability")
    for kind in ("Deployment", "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"):
        assert NAME in named(objects, kind), kind
    pod = services(objects)[NAME]
    assert pod["spec"]["containers"][0]["args"] == ["derive"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 40
    clean = services(objects)["headrace-clean"]
    assert [v["name"] for v in pod["spec"]["volumes"]] == [v["name"] for v in clean["spec"]["volumes"]]
    ours, theirs = (named(objects, "NetworkPolicy")[n]["spec"] for n in (NAME, "headrace-clean"))
    assert (ours["ingress"], ours["egress"]) == (theirs["ingress"], theirs["egress"])
    hub = named(objects, "NetworkPolicy")["headrace-hub"]["spec"]["egress"]
    asked = [to["podSelector"]["matchLabels"] for rule in hub for to in rule.get("to", [])]
    assert "derive" in [labels["app.kubernetes.io/component"] for labels in asked]
    assert _settings(objects, "hub")["hub"]["serve"]["watch"]["derive"] == "http://headrace-derive:8080"


def test_it_takes_its_part_of_the_configuration(render: Render, tmp_path: Path) -> None:
    objects = render("observability")
    config = _config(objects, "derive", tmp_path)
    assert config.derived == ("heat",)
    assert config.streams["heat"].partitions == 6
    assert problems(config, [Service.DERIVE]) == []
    assert config.derive.http.host == "0.0.0.0"
    assert (config.registry.url, config.store.endpoint) == (
        "http://registry.iot.svc:8080/apis/ccompat/v7", "s3.iot.svc:8333",
    )  # fmt: skip
    assert _config(objects, "tools", tmp_path).group_of("heat") == "headrace-derive-heat"


def test_each_runs_its_own_functions(helm4: Helm) -> None:
    objects = helm4.render("observability", "--set", "config.streams.environment.transform=transforms/own.py")
    found = {
        role: {n: s.get("transform") for n, s in _settings(objects, role)["streams"].items() if s.get("transform")}
        for role in ("bridge", "clean", "derive", "archive", "topics", "tools")
    }
    ours, theirs = {"heat": "transforms/heat.py"}, {"environment": "transforms/own.py"}
    assert found == {
        "bridge": {}, "clean": theirs, "derive": ours, "archive": {}, "topics": {}, "tools": ours | theirs,
    }  # fmt: skip


def test_a_change_of_its_section_replaces_it_alone(render: Render) -> None:
    before, after = (services(render("observability", *a)) for a in ((), ("--set", "config.derive.batch=77")))
    assert {n for n in before if before[n] != after[n]} == {NAME}


def test_keda_asks_for_the_lag_of_each_stream_of_its_own_group(helm4: Helm) -> None:
    more = "config.streams.hot.from=warm,config.derive.group=mine"
    spec = named(helm4.render("keda", "--set", f"{KEDA},{more}"), "ScaledObject")[NAME]["spec"]
    asked = [(t["metadata"]["topic"], t["metadata"]["consumerGroup"]) for t in spec["triggers"]]
    assert asked == [("warm.clean", "mine-hot"), ("environment.clean", "mine-warm")]
    assert {t["authenticationRef"]["name"] for t in spec["triggers"]} == {"headrace-kafka"}
    assert spec["maxReplicaCount"] == 6, "as many as partitions of the stream that the others are made of"


def test_keda_may_ask_prometheus_instead(helm4: Helm) -> None:
    assert "derive.autoscaling.prometheus: " in helm4.refused("dev", "--set", KEDA)
    objects = helm4.render("dev", "--set", f"{KEDA},derive.autoscaling.prometheus=http://prometheus:9090")
    (trigger,) = named(objects, "ScaledObject")[NAME]["spec"]["triggers"]
    assert trigger["metadata"]["query"] == 'sum(headrace_lag_records{namespace="plant",pod=~"headrace-derive-.*"})'


def test_the_hpa_stops_at_the_partitions(helm4: Helm) -> None:
    objects = helm4.render("hpa", "--set", "config.streams.a.from=imu,derive.autoscaling.kind=hpa")
    most = {n: o["spec"]["maxReplicas"] for n, o in named(objects, "HorizontalPodAutoscaler").items()}
    # imu and a have six partitions each, hub's streams one.
    assert most == {NAME: 6, "headrace-clean": 6, "headrace-archive": 12}


@pytest.mark.parametrize("given", [None, 6])
def test_strimzis_topics_have_as_many_partitions_as_those_of_the_source(given: int | None, helm4: Helm) -> None:
    own = "" if given is None else f",config.streams.b.partitions={given}"
    settings = f"config.streams.a.from=imu,config.streams.b.from=a{own}"
    topics = named(helm4.render("strimzi", "--set", settings), "KafkaTopic").values()
    found = {t["spec"]["topicName"]: t["spec"]["partitions"] for t in topics}
    assert {found[f"{s}.{kind}"] for s in ("imu", "a", "b") for kind in ("raw", "clean")} == {6}


def test_streams_that_are_made_of_each_other_do_not_hang_the_rendering(helm4: Helm) -> None:
    """The pods refuse them, in words."""
    helm4.render("minimal", "--set", "config.streams.a.from=b,config.streams.b.from=a")


def test_its_identity_is_asked_for_where_it_runs(helm4: Helm) -> None:
    settings = "config.streams.a.from=imu,derive.podLabels=null"
    assert "derive.podLabels: azure.workload.identity/use" in helm4.refused("shipped-aks", "--set", settings)
    helm4.render("shipped-aks", "--set", "derive.podLabels=null")


def _settings(objects: list[Object], role: str) -> dict[str, Any]:
    (text,) = (m["data"][f"{role}.yaml"] for m in named(objects, "ConfigMap").values() if f"{role}.yaml" in m["data"])
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _config(objects: list[Object], role: str, folder: Path) -> Config:
    """What a process of that role loads, beside the functions that are mounted."""
    secret = folder / "secret"
    secret.write_text("secret")
    for name, text in named(objects, "ConfigMap")["headrace-transforms"]["data"].items():
        (folder / "transforms").mkdir(exist_ok=True)
        (folder / "transforms" / name).write_text(text)
    file = folder / f"{role}.yaml"
    text = yaml.safe_dump(_settings(objects, role))
    file.write_text(re.sub(r"/run/secrets/\S+", str(secret), text))
    return load(file, {})
