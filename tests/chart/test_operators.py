"""What is asked of others' operators: Strimzi, KEDA, and Prometheus'."""

import pytest

from tests.chart.conftest import Render
from tests.chart.helm import NAMESPACE, Helm, named

KEEP = ("helm.sh/resource-policy", "keep")


@pytest.mark.parametrize("keep", [True, False])
def test_what_holds_data_outlives_its_release(keep: bool, render: Render) -> None:
    """Strimzi deletes what it made when a resource goes: topics with their data, a cluster with what it knows."""
    objects = render("strimzi", "--set", f"strimzi.keepData={str(keep).lower()}")
    topics = named(objects, "KafkaTopic")
    assert {t["spec"]["topicName"] for t in topics.values()} >= {"imu.raw", "imu.clean", "dead-letters"}
    for topic in topics.values():
        assert KEEP in topic["metadata"].get("annotations", {}).items(), topic["metadata"]["name"]
    for kind in ("Kafka", "KafkaNodePool"):
        (cluster,) = named(objects, kind).values()
        assert (KEEP in cluster["metadata"].get("annotations", {}).items()) == keep, kind
        if kind == "KafkaNodePool":
            (volume,) = cluster["spec"]["storage"]["volumes"]
            assert volume["deleteClaim"] != keep


def test_the_probes_of_clean_and_archive_may_delete_their_group(render: Render) -> None:
    (user,) = named(render("strimzi"), "KafkaUser").values()
    (groups,) = (a for a in user["spec"]["authorization"]["acls"] if a["resource"]["type"] == "group")
    assert "Delete" in groups["operations"]


def test_keda_finds_strimzis_kafka_from_its_own_namespace(render: Render) -> None:
    settings = "clean.autoscaling.kind=keda"
    triggers = named(render("strimzi", "--set", settings), "ScaledObject")["headrace-clean"]["spec"]["triggers"]
    asked = {t["metadata"]["bootstrapServers"] for t in triggers}
    assert asked == {f"headrace-kafka-bootstrap.{NAMESPACE}.svc:9093"}


def test_keda_can_not_ask_the_bundled_kafka(helm4: Helm) -> None:
    settings = "clean.autoscaling.kind=keda"
    assert "clean.autoscaling.prometheus: " in helm4.refused("dev", "--set", settings)
    helm4.render("dev", "--set", f"{settings},clean.autoscaling.prometheus=http://prometheus:9090")


@pytest.mark.parametrize("service", ["clean", "archive"])
def test_prometheus_is_a_url(service: str, helm3: Helm, helm4: Helm) -> None:
    setting = f"{service}.autoscaling.prometheus=prometheus:9090"
    for helm in (helm3, helm4):
        assert "prometheus" in helm.refused("minimal", "--set", setting)


def test_names_that_strimzis_pods_could_not_have_are_refused(helm4: Helm) -> None:
    longest = "a" * 27
    objects = helm4.render("strimzi", "--set", f"fullnameOverride={longest}")
    (cluster,), (pool,) = named(objects, "Kafka"), named(objects, "KafkaNodePool")
    assert len(f"{cluster}-{pool}-0") <= 63
    assert "fullnameOverride: " in helm4.refused("strimzi", "--set", f"fullnameOverride={longest}a")
    helm4.render("minimal", "--set", f"fullnameOverride={longest}a")
