"""Releases on a real API server, in namespaces that enforce `restricted`: installed, changed, taken back, removed.

Its admission, controllers and scheduler are Kubernetes' own. Its nodes are not: pods are ready at once and run nothing.
"""

import pytest

from headrace.errors import FatalError
from tests.chart.api import Api, Object, until
from tests.chart.cluster import Cluster
from tests.chart.helm import CASES, CHART, RELEASE, Helm, documents, named, services

OF_THE_NAMESPACE = {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}
CHANGE = ("--set", "config.max_message_bytes=1500000")
WAIT = ("--wait", "--wait-for-jobs", "--timeout", "3m")

# What the notes say of some cases, and of no other.
NOTED = {
    "monitoring.kind is none": {"keda"},
    "Mosquitto reads its certificate at the start only": {"strimzi"},
    "keeps the KafkaTopics, the Kafka and its KafkaNodePool": {"strimzi"},
}


@pytest.mark.parametrize("case", CASES)
def test_helm_4(case: str, helm4: Helm, cluster: Cluster, namespace: str) -> None:
    _live(Helm(helm4.program, helm4.home, cluster.kubeconfig), cluster.api, case, namespace)


def test_helm_3(helm3: Helm, cluster: Cluster, namespace: str) -> None:
    _live(Helm(helm3.program, helm3.home, cluster.kubeconfig), cluster.api, "shipped-dev", namespace)


def test_under_a_quota(helm4: Helm, cluster: Cluster, namespace: str) -> None:
    """With a quota, a container that does not say what it needs is refused; and too many are."""
    helm = Helm(helm4.program, helm4.home, cluster.kubeconfig)
    hard = {"requests.cpu": "4", "requests.memory": "8Gi", "limits.memory": "16Gi", "pods": "20"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": hard}}
    cluster.api.apply(quota, namespace)
    until(lambda: "hard" in cluster.api.list("ResourceQuota", namespace)[0].get("status", {}), 30, "the quota")
    helm.run(*_install("shipped-dev", namespace))
    used = cluster.api.list("ResourceQuota", namespace)[0]["status"]["used"]
    assert int(used["pods"]) >= 7


def test_what_the_namespace_forbids_is_refused(cluster: Cluster, namespace: str) -> None:
    """The admission that the other tests rely on is there."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }
    with pytest.raises(FatalError, match="violates PodSecurity"):
        cluster.api.apply(pod, namespace)


def _install(case: str, namespace: str) -> list[str]:
    return ["install", RELEASE, str(CHART), "-n", namespace, "-f", str(CASES[case]), *WAIT]


def _live(helm: Helm, api: Api, case: str, namespace: str) -> None:
    """One release from its beginning to its end."""
    outside = api.names()
    helm.run(*_install(case, namespace))
    first = documents(helm.run("get", "manifest", RELEASE, "-n", namespace).stdout)
    _all_there(api, namespace, first)
    pods_of_first = _pods(api, namespace)

    values = ["-f", str(CASES[case]), *CHANGE]
    helm.run("upgrade", RELEASE, str(CHART), "-n", namespace, *values, *WAIT)
    second = documents(helm.run("get", "manifest", RELEASE, "-n", namespace).stdout)
    _all_there(api, namespace, second)
    rolled = {name for name, pod in services(first).items() if pod != services(second)[name]}
    assert {n.rpartition("-")[2] for n in rolled} >= {"bridge", "clean", "archive"}
    _replaced(api, namespace, first, pods_of_first, rolled)
    gone = named(first, "Job").keys() - named(second, "Job").keys()
    until(lambda: not gone & _names(api, namespace, "Job"), 30, f"the end of the Jobs {gone}")

    helm.run("rollback", RELEASE, "1", "-n", namespace, *WAIT)
    back = documents(helm.run("get", "manifest", RELEASE, "-n", namespace).stdout)
    assert _plain(back) == _plain(first)
    _all_there(api, namespace, back)

    said = helm.run("test", RELEASE, "-n", namespace, "--timeout", "2m").stdout
    assert "Succeeded" in said
    notes = helm.run("get", "notes", RELEASE, "-n", namespace).stdout
    assert notes.strip()
    for told, cases in NOTED.items():
        assert (told in notes) == (case in cases), told

    kept = _kept(first)
    _removed(helm, api, namespace, kept)
    if kept:  # a release of the same name takes over what was kept
        helm.run(*_install(case, namespace))
        _all_there(api, namespace, first)
        _removed(helm, api, namespace, kept)
    assert any(n.startswith("KafkaTopic/") for n in kept) == bool(named(first, "Kafka"))
    assert api.names() == outside


def _removed(helm: Helm, api: Api, namespace: str, kept: set[str]) -> None:
    """Uninstall the release; then nothing is left but what is kept on purpose."""
    helm.run("uninstall", RELEASE, "-n", namespace, "--wait", "--timeout", "2m")
    wanted = OF_THE_NAMESPACE | kept
    until(lambda: api.names(namespace) <= wanted, 60, f"only {wanted} in {namespace}, not {api.names(namespace)}")
    assert api.names(namespace) == wanted


def _all_there(api: Api, namespace: str, objects: list[Object]) -> None:
    """Every object of a release is there; Jobs have completed, and all pods that were asked for are ready."""
    for item in objects:
        path = api.kind(item).path(namespace, item["metadata"]["name"])
        # An autoscaler may ask for more pods at any time.
        until(lambda path=path: _done(api.call("GET", path)), 30, path)  # type: ignore[misc]


def _done(item: Object) -> bool:
    status = item.get("status", {})
    match item["kind"]:
        case "Job":
            return bool(status.get("succeeded") == 1)
        case "Deployment" | "StatefulSet":
            pods = {status.get("readyReplicas"), status.get("updatedReplicas"), status.get("replicas")}
            return pods == {item["spec"]["replicas"]} and status["observedGeneration"] == item["metadata"]["generation"]
    return True


def _replaced(api: Api, namespace: str, objects: list[Object], before: dict[str, str], rolled: set[str]) -> None:
    """The pods of the services in `rolled` are others than those `before`, and those of the rest are not."""
    for name in services(objects):
        old = {uid for pod, uid in before.items() if pod.startswith(f"{name}-")}
        assert old, name

        def changed(name: str = name, old: set[str] = old) -> bool:
            now = {uid for pod, uid in _pods(api, namespace).items() if pod.startswith(f"{name}-")}
            return bool(now) and (now.isdisjoint(old) if name in rolled else now == old)

        until(changed, 30, f"the pods of {name}: {'new ones' if name in rolled else 'the same'}")


def _pods(api: Api, namespace: str) -> dict[str, str]:
    """Name and uid of every pod that runs."""
    running = (p for p in api.list("Pod", namespace) if p.get("status", {}).get("phase") == "Running")
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in running}


def _names(api: Api, namespace: str, kind: str) -> set[str]:
    return {o["metadata"]["name"] for o in api.list(kind, namespace)}


def _plain(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"]))


def _kept(objects: list[Object]) -> set[str]:
    """What is to outlive a release: the volumes of StatefulSets, and what says so itself."""
    kept = {
        f"{o['kind']}/{o['metadata']['name']}"
        for o in objects
        if o["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    for item in named(objects, "StatefulSet").values():
        if item["spec"].get("persistentVolumeClaimRetentionPolicy", {}).get("whenDeleted") == "Delete":
            continue
        for claim in item["spec"].get("volumeClaimTemplates", []):
            for number in range(item["spec"].get("replicas", 1)):
                kept.add(f"PersistentVolumeClaim/{claim['metadata']['name']}-{item['metadata']['name']}-{number}")
    return kept
