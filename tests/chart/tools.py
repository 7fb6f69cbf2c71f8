"""What the chart's tests run besides Python, built with Go from pinned sources, once: `python -m tests.chart.tools`.

kube/ is one Go module: its own main package (etcd and Kubernetes' servers) and, as its tools, kwok, Helm 3 and 4 and
kubeconform. So what they share is compiled once, and kube/go.sum pins every byte of it.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import ConfigError
from headrace.stack.download import cache_dir

SOURCE = Path(__file__).with_name("kube")
STRIMZI = Path(__file__).with_name("strimzi.yaml")
SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
TOGETHER = ("helm.sh/helm/v4/cmd/helm", "sigs.k8s.io/kwok/cmd/kwok", "github.com/yannh/kubeconform/cmd/kubeconform")
# What the chart may ask of operators: the module, and the definitions in it.
DEFINITIONS = (
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml",
        ("servicemonitors", "podmonitors", "prometheusrules"),
    ),
    (
        "github.com/kedacore/keda/v2@v2.21.0",
        "config/crd/bases/keda.sh_{}.yaml",
        ("scaledobjects", "triggerauthentications"),
    ),
    (
        "github.com/cert-manager/cert-manager@v1.21.2",
        "deploy/crds/cert-manager.io_{}.yaml",
        ("certificates", "issuers"),
    ),
)
NEEDED = (
    "the chart's tests need Go 1.26 or newer, on the PATH or in /usr/local/go/bin, to build a Kubernetes API server, "
    "kwok, Helm 3 and 4 and kubeconform: https://go.dev/dl/"
)


@dataclass(frozen=True)
class Tools:
    """The folder of the built programs."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        """The program of that name, `_` standing for `-`."""
        return self.folder / name.replace("_", "-")

    @property
    def definitions(self) -> list[Path]:
        """The CustomResourceDefinitions, one or more a file."""
        return [STRIMZI, *sorted((self.folder / "crds").glob("*.yaml"))]


def tools() -> Tools:
    """The programs, built first where they are not there. ConfigError where they can't be."""
    folder = cache_dir() / "tools" / f"chart-{_digest()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "chart.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            fresh = folder.with_name("chart-building")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            _build(fresh)
            fresh.rename(folder)
    return Tools(folder)


def _digest() -> str:
    pins = [(SOURCE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")]
    pins += [repr((TOGETHER, DEFINITIONS, _flags(), sys.platform, platform.machine())).encode()]
    return hashlib.sha256(b"\0".join(pins)).hexdigest()[:10]


def _build(folder: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise ConfigError(NEEDED)
    began = time.monotonic()
    build = [go, "build", "-trimpath", "-ldflags", _flags()]
    _step("Kubernetes, Helm 4, kwok and kubeconform: most of the time goes here")
    _go([*build, "-o", f"{folder}/", ".", *TOGETHER])
    (folder / "helm").rename(folder / "helm4")
    for server in SERVERS:
        (folder / server).symlink_to("kube")
    _step("Helm 3")
    _go([*build, "-o", str(folder / "helm3"), "helm.sh/helm/v3/cmd/helm"])
    _step("CustomResourceDefinitions")
    (folder / "crds").mkdir()
    for module, where, names in DEFINITIONS:
        found = Path(json.loads(_go([go, "mod", "download", "-json", module], cwd=folder))["Dir"])
        for name in names:
            (folder / "crds" / f"{name}.yaml").write_bytes((found / where.format(name)).read_bytes())
    _step(f"all built in {time.monotonic() - began:.0f} s")


def _flags() -> str:
    """The linker's: each program says its version, as its releases do; Helm compares the API server's."""
    pinned = dict(re.findall(r"^\t(\S+) (v\S+)", (SOURCE / "go.mod").read_text(encoding="utf-8"), re.MULTILINE))
    kubernetes, three, four = (pinned[m] for m in ("k8s.io/kubernetes", "helm.sh/helm/v3", "helm.sh/helm/v4"))
    major, minor, _ = kubernetes.removeprefix("v").split(".", 2)
    version = "k8s.io/component-base/version"
    values = {
        f"{version}.gitVersion": kubernetes,
        f"{version}.gitMajor": major,
        f"{version}.gitMinor": minor,
        "helm.sh/helm/v3/internal/version.version": three,
        "helm.sh/helm/v4/internal/version.version": four,
    }
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


def _go(argv: list[str], cwd: Path = SOURCE) -> str:
    done = subprocess.run(
        argv, cwd=cwd, env={**os.environ, "CGO_ENABLED": "0"}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise ConfigError(f"exit {done.returncode}: {' '.join(argv)}\n{NEEDED}")
    return done.stdout


def _step(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} chart-test: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(tools().folder)
    except ConfigError as e:
        sys.exit(str(e))
