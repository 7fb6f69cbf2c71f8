"""Prometheus itself: found, or taken from Debian's package without installing it, run on loopback, and asked."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.stack import ports
from headrace.stack.download import cache_dir
from tests.waiting import running, until

NEEDED = "needs prometheus and promtool on the PATH, or `apt-get download prometheus` and dpkg-deb to get them"


def program(name: str) -> Path:
    """`prometheus` or `promtool`. Skips the test where they can't be had."""
    if found := shutil.which(name):
        return Path(found)
    folder = cache_dir() / "tools" / "prometheus-debian"
    if not (folder / "usr" / "bin" / name).is_file():
        _download(folder)
    return folder / "usr" / "bin" / name


def _download(folder: Path) -> None:
    """Unpack the package: as anybody, and so that no server of its own is started."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip(NEEDED)
    folder.mkdir(parents=True, exist_ok=True)
    get = ["apt-get", "download", "-q", "prometheus"]
    if subprocess.run(get, cwd=folder, check=False, capture_output=True).returncode != 0:
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)  # where it may
        subprocess.run(get, cwd=folder, check=False, capture_output=True)
    packages = list(folder.glob("prometheus_*.deb"))
    if not packages:
        pytest.skip(NEEDED)
    subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(folder)], check=True)
    for package in packages:
        package.unlink()


class Prometheus:
    """A running one, and its HTTP API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer; fails the test with what Prometheus says is wrong."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            pytest.fail(f"{path} {query}: {e.read().decode()}")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant vector, or a scalar as one."""
        data = self.get("query", query=expr)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        found: list[dict[str, Any]] = data["result"]
        return found

    def series(self, expr: str, seconds: int, step: int) -> list[dict[str, Any]]:
        """A range vector of the last seconds."""
        now = time.time()
        data = self.get("query_range", query=expr, start=str(now - seconds), end=str(now), step=str(step))
        found: list[dict[str, Any]] = data["result"]
        return found

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """Alerts that fire: the labels of each, by name."""
        out: dict[str, list[dict[str, str]]] = {}
        for alert in self.get("alerts")["alerts"]:
            if alert["state"] == "firing":
                out.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return out

    @property
    def up(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def scraping(
    folder: Path, jobs: Mapping[str, list[int]], rules: str, every: str, token: str = ""
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes ports of loopback by job, and evaluates the text of a rule file, `every` so often.

    It sends `token` as a bearer token, where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alerts.yaml").write_text(rules)
    login: dict[str, Any] = {"authorization": {"credentials": token}} if token else {}
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [
            {"job_name": job, **login, "static_configs": [{"targets": [f"127.0.0.1:{p}" for p in found]}]}
            for job, found in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = ports.free(set())
    argv = [
        str(program("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with running(argv, folder / "prometheus.log") as it:
        prometheus = Prometheus(port)
        until(lambda: prometheus.up or it.poll() is not None, 60, "Prometheus answers")
        assert it.poll() is None, (folder / "prometheus.log").read_text()
        yield prometheus
