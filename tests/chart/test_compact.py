"""Compact: one pod, with the object store and nothing else."""

from typing import Any

import yaml

from tests.chart.api import Object
from tests.chart.conftest import Render
from tests.chart.helm import Helm, named, services

NAME = "headrace-compact"


def test_it_is_a_service_like_the_others(render: Render) -> None:
    objects = render("observability")
    for kind in ("Deployment", "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"):
        assert NAME in named(objects, kind), kind
    pod = services(objects)[NAME]
    assert pod["spec"]["containers"][0]["args"] == ["compact"]
    assert _settings(objects, "hub")["hub"]["serve"]["watch"]["compact"] == f"http://{NAME}:8080"


def test_there_is_one_at_a_time(render: Render) -> None:
    spec = named(render("hpa"), "Deployment")[NAME]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert NAME not in named(render("hpa"), "HorizontalPodAutoscaler")
    assert NAME not in named(render("keda"), "ScaledObject")


def test_it_has_the_store_and_nothing_of_kafka(render: Render) -> None:
    objects = render("external")
    name = next(n for n in services(objects) if n.endswith("-compact"))
    mounts = {m["name"] for m in services(objects)[name]["spec"]["containers"][0]["volumeMounts"]}
    assert "store" in mounts
    assert not {"kafka", "kafka-tls", "registry", "mqtt"} & mounts
    settings = _settings(objects, "compact")
    assert settings.keys() <= {"store", "streams", "compact", "archive"}
    egress = [p["port"] for rule in named(objects, "NetworkPolicy")[name]["spec"]["egress"] for p in rule["ports"]]
    assert 9092 not in egress
    assert 9093 not in egress


def test_it_knows_what_the_archive_stores_and_no_more_of_it(helm4: Helm) -> None:
    given = "config.archive.topics={imu.clean,alien},config.archive.max_records=7,config.archive.compression_level=5"
    found = _settings(helm4.render("minimal", "--set", given), "compact")["archive"]
    assert found == {"topics": ["imu.clean", "alien"], "compression_level": 5}
    assert "archive" not in _settings(helm4.render("minimal", "--set", "config.archive.max_records=7"), "compact")


def test_a_change_of_its_section_replaces_it_alone(render: Render) -> None:
    before, after = (services(render("minimal", *a)) for a in ((), ("--set", "config.compact.files=20")))
    assert {n for n in before if before[n] != after[n]} == {NAME}


def test_what_does_not_fit_into_memory_goes_to_the_node(render: Render) -> None:
    (tmp,) = (v for v in services(render("minimal"))[NAME]["spec"]["volumes"] if v["name"] == "tmp")
    assert tmp["emptyDir"] == {"sizeLimit": "4Gi"}
    (tmp,) = (v for v in services(render("minimal"))["headrace-clean"]["spec"]["volumes"] if v["name"] == "tmp")
    assert tmp["emptyDir"] == {"sizeLimit": "256Mi"}


def test_it_may_be_left_out(render: Render) -> None:
    objects = render("minimal", "--set", "compact.enabled=false")
    assert [o["metadata"]["name"] for o in objects if o["metadata"]["name"].endswith("-compact")] == []
    assert "compact" not in _settings(objects, "hub")["hub"]["serve"]["watch"]


def test_its_identity_is_asked_for_where_the_store_takes_it(helm4: Helm) -> None:
    said = helm4.refused("shipped-aks", "--set", "compact.podLabels=null")
    assert "compact.podLabels: azure.workload.identity/use" in said
    helm4.render("shipped-aks", "--set", "compact.podLabels=null,store.existingSecret=account")


def _settings(objects: list[Object], role: str) -> dict[str, Any]:
    (text,) = (m["data"][f"{role}.yaml"] for m in named(objects, "ConfigMap").values() if f"{role}.yaml" in m["data"])
    found: dict[str, Any] = yaml.safe_load(text)
    return found
