"""What holds for everything that the chart renders, whatever the values."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.config import Config, load
from tests.chart.api import Object
from tests.chart.conftest import Render
from tests.chart.helm import CASES, WORKLOADS, container_ports, named, selects, services, templates

pytestmark = pytest.mark.parametrize("case", CASES)

# Volumes that the pod security standard `restricted` admits, of those a chart could want.
VOLUMES = {"configMap", "secret", "emptyDir", "projected", "downwardAPI", "persistentVolumeClaim"}
BUDGETED = ("bridge", "ingest", "clean", "derive", "archive", "compact", "hub")


def test_pods_are_restricted(case: str, render: Render) -> None:
    for owner, pod in templates(render(case)):
        spec, where = pod["spec"], f"{owner['kind']}/{owner['metadata']['name']}"
        assert spec["automountServiceAccountToken"] is False, where
        assert spec["enableServiceLinks"] is False, where
        assert spec["securityContext"]["runAsNonRoot"] is True, where
        assert spec["securityContext"]["runAsUser"] > 0, where
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), where
        for container in _containers(pod):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, where
            assert security["allowPrivilegeEscalation"] is False, where
            assert security["capabilities"] == {"drop": ["ALL"]}, where
            assert not security.get("privileged", False), where
        for volume in spec.get("volumes", []):
            assert volume.keys() - {"name"} <= VOLUMES, where


def test_containers_say_what_they_need(case: str, render: Render) -> None:
    for owner, pod in templates(render(case)):
        for container in _containers(pod):
            where = f"{owner['metadata']['name']}: {container['name']}"
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), where
            assert "memory" in container["resources"]["limits"], where
            _, at, digest = container["image"].partition("@sha256:")
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            assert (at and digest) or (tag and tag != "latest"), container["image"]


def test_services_are_probed(case: str, render: Render) -> None:
    for name, pod in services(render(case)).items():
        for container in pod["spec"]["containers"]:
            open_ports = {p.get("name") for p in container["ports"]} | {p["containerPort"] for p in container["ports"]}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert probe in container, f"{name}: {container['name']}: {probe}"
                asked = container[probe].get("httpGet") or container[probe].get("tcpSocket")
                assert asked is None or asked["port"] in open_ports, f"{name}: {probe}"


def test_mounts_and_volumes_match(case: str, render: Render) -> None:
    for owner, pod in templates(render(case)):
        claims = owner["spec"].get("volumeClaimTemplates", []) if owner["kind"] == "StatefulSet" else []
        volumes = [v["name"] for v in pod["spec"].get("volumes", [])] + [c["metadata"]["name"] for c in claims]
        mounts = {m["name"] for c in _containers(pod) for m in c.get("volumeMounts", [])}
        assert sorted(volumes) == sorted(mounts), owner["metadata"]["name"]


def test_what_pods_refer_to_is_there(case: str, render: Render) -> None:
    objects = render(case)
    maps, accounts = named(objects, "ConfigMap"), named(objects, "ServiceAccount")
    for owner, pod in templates(objects):
        where = owner["metadata"]["name"]
        assert pod["spec"]["serviceAccountName"] in accounts, where
        for source in _sources(pod):
            if "configMap" not in source:
                continue
            wanted = source["configMap"]
            keys = maps[wanted["name"]].get("data", {}).keys()
            assert {i["key"] for i in wanted.get("items", [])} <= keys, where


def test_secrets_are_named_by_the_values(case: str, render: Render) -> None:
    """A Secret that a pod mounts is made by the chart (or cert-manager for it), or the values name it."""
    objects = render(case)
    made = set(named(objects, "Secret"))
    made |= {c["spec"]["secretName"] for c in named(objects, "Certificate").values()}
    made |= {f"{name}-cluster-ca-cert" for name in named(objects, "Kafka")} | set(named(objects, "KafkaUser"))
    values = CASES[case].read_text()
    for owner, pod in templates(objects):
        for source in _sources(pod):
            name = source.get("secret", {}).get("secretName") or source.get("secret", {}).get("name")
            assert name is None or name in made or name in values, owner["metadata"]["name"]
        for container in _containers(pod):
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
                assert secret is None or secret in made or secret in values, owner["metadata"]["name"]


def test_ports_agree(case: str, render: Render) -> None:
    """What a NetworkPolicy lets in is what the containers listen on, and where Services send to."""
    objects = render(case)
    policies = [p["spec"] for p in named(objects, "NetworkPolicy").values()]
    for owner, pod in templates(objects):
        where = f"{owner['kind']}/{owner['metadata']['name']}"
        mine = [p for p in policies if selects(p["podSelector"], pod)]
        assert mine, where
        assert all(set(p["policyTypes"]) == {"Ingress", "Egress"} for p in mine), where
        let_in = {(p.get("protocol", "TCP"), p["port"]) for q in mine for rule in q["ingress"] for p in rule["ports"]}
        assert let_in == container_ports(pod), where
        let_out = {(p.get("protocol", "TCP"), p["port"]) for q in mine for r in q["egress"] for p in r.get("ports", [])}
        assert not let_out or {("UDP", 53), ("TCP", 53)} <= let_out, where
    for name, service in named(objects, "Service").items():
        found = [pod for pod in services(objects).values() if selects(service["spec"]["selector"], pod)]
        assert len(found) == 1, name
        by_name = {p.get("name"): p["containerPort"] for c in found[0]["spec"]["containers"] for p in c["ports"]}
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert by_name.get(target, target) in {number for _, number in container_ports(found[0])}, name


def test_each_service_has_one_budget(case: str, render: Render) -> None:
    budgets = named(render(case), "PodDisruptionBudget").values()
    for name, pod in services(render(case)).items():
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] in BUDGETED:
            assert len([b for b in budgets if selects(b["spec"]["selector"], pod)]) == 1, name


def test_selectors_select(case: str, render: Render) -> None:
    for item in render(case):
        if item["kind"] in WORKLOADS:
            assert selects(item["spec"]["selector"], item["spec"]["template"])
    all_selectors = [o["spec"]["selector"]["matchLabels"] for o in render(case) if o["kind"] in WORKLOADS]
    assert len({tuple(sorted(s.items())) for s in all_selectors}) == len(all_selectors)


def test_one_owner_of_the_number_of_pods(case: str, render: Render) -> None:
    objects = render(case)
    scaled = [*named(objects, "HorizontalPodAutoscaler").values(), *named(objects, "ScaledObject").values()]
    targets = [s["spec"]["scaleTargetRef"]["name"] for s in scaled]
    assert len(set(targets)) == len(targets)
    for item in objects:
        if item["kind"] in WORKLOADS:
            assert ("replicas" in item["spec"]) != (item["metadata"]["name"] in targets), item["metadata"]["name"]


def test_ending_takes_no_longer_than_it_may(case: str, render: Render, tmp_path: Path) -> None:
    objects = render(case)
    for name, pod in services(objects).items():
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        if name.endswith("-archive"):
            assert grace >= _config(objects, pod, tmp_path).store.timeout_seconds + 5
        assert grace >= 30, name


def test_pods_take_their_configuration(case: str, render: Render, tmp_path: Path) -> None:
    """As the process in the pod loads it: no unknown key, no value that does not fit, no file that is not mounted."""
    objects = render(case)
    checked = set()
    for owner, pod in templates(objects):
        if any(v["name"] == "HEADRACE_CONFIG" for c in pod["spec"]["containers"] for v in c.get("env", [])):
            _config(objects, pod, tmp_path / owner["metadata"]["name"])
            checked.add(owner["metadata"]["name"].rpartition("-")[2])
    assert {"bridge", "ingest", "clean", "archive", "hub"} <= checked


def test_everything_bears_the_labels(case: str, render: Render) -> None:
    wanted = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
    for item in render(case):
        assert wanted <= item["metadata"]["labels"].keys(), item["metadata"]["name"]
        assert item["metadata"]["namespace"], item["metadata"]["name"]
        assert len(item["metadata"]["name"]) <= 63


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _sources(pod: Object) -> Iterator[Object]:
    """Where each volume comes from, the parts of projected ones singly."""
    for volume in pod["spec"].get("volumes", []):
        yield from volume["projected"]["sources"] if "projected" in volume else [volume]


def _config(objects: list[Object], pod: Object, root: Path) -> Config:
    """What the pod's process loads, with what is mounted into the pod laid out under `root`."""
    maps = named(objects, "ConfigMap")
    container = pod["spec"]["containers"][0]
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    for mount in container["volumeMounts"]:
        volume, place = volumes.get(mount["name"], {}), root / mount["mountPath"].lstrip("/")
        if "secret" in volume:
            contents = {item["path"]: "secret" for item in volume["secret"]["items"]}
        elif "projected" in volume:
            parts = volume["projected"]["sources"]
            contents = {item["path"]: "secret" for part in parts for item in part["secret"]["items"]}
        elif "configMap" in volume:
            data = maps[volume["configMap"]["name"]]["data"]
            items = volume["configMap"].get("items") or [{"key": key, "path": key} for key in data]
            contents = {item["path"]: data[item["key"]] for item in items}
        else:
            continue
        for path, text in contents.items():
            assert mount.get("subPath", path) == path
            file = place if "subPath" in mount else place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            # Whatever is named by its place in the pod is here under `root`.
            file.write_text(re.sub(r"(?<![\w/])/(run/secrets|etc/headrace)/", rf"{root}/\1/", text), encoding="utf-8")
    name = next(v["value"] for v in container["env"] if v["name"] == "HEADRACE_CONFIG")
    return load(root / name.lstrip("/"), {})
