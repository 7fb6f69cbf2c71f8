"""Helm, and what it renders of the chart: each file of helm/headrace/ci, and those for a laptop and two clouds."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.chart.api import Object

CHART = Path(__file__).resolve().parents[2] / "helm" / "headrace"
CASES = {f.stem.removeprefix("values-").removesuffix("-values"): f for f in sorted(CHART.glob("ci/*-values.yaml"))} | {
    f.stem.replace("values-", "shipped-"): f for f in sorted(CHART.glob("values-*.yaml"))
}
# What the clusters have whose resources the chart may ask for.
OPERATORS = ("monitoring.coreos.com/v1", "keda.sh/v1alpha1", "cert-manager.io/v1", "kafka.strimzi.io/v1")
# The server's, of kube/go.mod: Helm 3 that is not built as a release takes 1.20 for granted.
KUBERNETES = "1.37.2"
NAMESPACE = "plant"
RELEASE = "headrace"

WORKLOADS = ("Deployment", "StatefulSet")


@dataclass(frozen=True)
class Helm:
    """One version of Helm, with its own folders, and a cluster unless it only renders."""

    program: Path
    home: Path
    kubeconfig: Path | None = None

    def run(self, *args: str, ok: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """`helm args...`; fails the test with what was printed unless it exits 0, or ok=False."""
        folders = {f"HELM_{n}_HOME": str(self.home / n.lower()) for n in ("CACHE", "CONFIG", "DATA")}
        # Not the user's own cluster, whatever happens.
        folders["KUBECONFIG"] = str(self.kubeconfig or self.home / "no-cluster")
        done = subprocess.run(
            [str(self.program), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **folders},
        )
        if ok and done.returncode != 0:
            pytest.fail(f"helm {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def render(self, case: str, *args: str) -> list[Object]:
        """The objects of a release with a case's values, and further arguments."""
        return documents(self.run(*self.rendering(case, *args)).stdout)

    def refused(self, case: str, *args: str) -> str:
        """What is said of values that are not taken."""
        done = self.run(*self.rendering(case, *args), ok=False)
        assert done.returncode != 0, f"rendered with {args}"
        return done.stderr

    @staticmethod
    def rendering(case: str, *args: str) -> list[str]:
        """The arguments that render a case."""
        has = ["--kube-version", KUBERNETES, *(w for version in OPERATORS for w in ("--api-versions", version))]
        return ["template", RELEASE, str(CHART), "-n", NAMESPACE, "-f", str(CASES[case]), *has, *args]


def documents(text: str) -> list[Object]:
    """The objects of a YAML stream."""
    return [d for d in yaml.load_all(text, yaml.CSafeLoader) if d]


def named(objects: list[Object], kind: str) -> dict[str, Object]:
    """The objects of a kind, by name."""
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


def templates(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Every pod template, `helm test`'s pods among them, with the object that it stands in."""
    for item in objects:
        match item["kind"]:
            case "Pod":
                yield item, item
            case "CronJob":
                yield item, item["spec"]["jobTemplate"]["spec"]["template"]
            case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
                yield item, item["spec"]["template"]


def services(objects: list[Object]) -> dict[str, Object]:
    """The pod templates of all that runs on, by the name of its Deployment or StatefulSet."""
    return {owner["metadata"]["name"]: pod for owner, pod in templates(objects) if owner["kind"] in WORKLOADS}


def selects(selector: Object, pod: Object) -> bool:
    """Whether `matchLabels` (or a Service's plain selector) names this pod."""
    wanted = selector.get("matchLabels", selector)
    return bool(wanted) and wanted.items() <= pod["metadata"]["labels"].items()


def container_ports(pod: Object) -> set[tuple[str, int]]:
    """Protocol and number of every port of a pod."""
    ports = (p for c in pod["spec"]["containers"] for p in c.get("ports", []))
    return {(p.get("protocol", "TCP"), p["containerPort"]) for p in ports}
