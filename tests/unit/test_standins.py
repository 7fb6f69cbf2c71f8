"""Which images the Compose tests run on: a stand-in never passes for the real one, nor gets into a user's engine."""

import ipaddress
import os
import subprocess
from pathlib import Path

import pytest

from tests.compose import private, standins
from tests.compose.engine import Docker

# A client of an engine that has one image of each kind, and can pull when PULL is 0.
CLIENT = """#!/bin/sh
echo "$*" >> "$LOG"
case "$1 $2" in
    "image inspect") case "$*" in
        *apache/kafka:4*) echo "<no value>" ;;
        *eclipse-mosquitto:2*) echo "Debian's" ;;
        *) exit 1 ;;
    esac ;;
    "pull --quiet") exit "$PULL" ;;
esac
"""


def docker(tmp: Path, *, pull: bool, own: bool) -> Docker:
    client = tmp / "docker"
    client.write_text(CLIENT)
    client.chmod(0o755)
    env = {**os.environ, "PULL": "0" if pull else "1", "LOG": str(tmp / "log")}
    return Docker(str(client), env, private=not own)


def test_what_the_engine_has_is_told_apart(tmp_path: Path) -> None:
    found = standins.provide(docker(tmp_path, pull=False, own=False), ["eclipse-mosquitto:2.1", "apache/kafka:4.1.0"])
    assert found == {"eclipse-mosquitto:2.1": "stand-in: Debian's", "apache/kafka:4.1.0": "real"}
    assert "pull" not in (tmp_path / "log").read_text()


def test_what_can_be_pulled_is_real(tmp_path: Path) -> None:
    names = ["chrislusf/seaweedfs:4.48", "grafana/grafana:12"]
    assert standins.provide(docker(tmp_path, pull=True, own=True), names) == dict.fromkeys(names, "real")


def test_a_users_engine_gets_no_stand_in(tmp_path: Path) -> None:
    found = standins.provide(docker(tmp_path, pull=False, own=True), ["chrislusf/seaweedfs:4.48"])
    assert found["chrislusf/seaweedfs:4.48"].startswith("absent: ")
    done = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert set(done) == {"image", "pull"}


def test_an_image_without_a_stand_in_is_absent(tmp_path: Path) -> None:
    found = standins.provide(docker(tmp_path, pull=False, own=False), ["grafana/grafana:12"])
    assert found == {"grafana/grafana:12": "absent: it can't be pulled, and there is no stand-in for it"}


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("python:3.11-slim-bookworm", "python"),
        ("docker.io/library/python:3.11", "python"),
        ("apache/kafka:4.1.0", "apache/kafka"),
        ("apache/kafka", "apache/kafka"),
        ("docker.io/apache/kafka:4.1.0@sha256:" + "0" * 64, "apache/kafka"),
        ("registry.test:5000/apache/kafka:4.1.0", "registry.test:5000/apache/kafka"),
    ],
)
def test_repository(name: str, repository: str) -> None:
    assert standins._repository(name) == repository


def test_a_private_engine_takes_a_net_that_no_route_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = "default via 10.0.0.1 dev eth0\n10.200.0.0/16 dev br0 proto kernel\nlocal 10.201.7.1 dev br1\n"
    done = subprocess.CompletedProcess([], 0, routes, "")
    monkeypatch.setattr("tests.compose.private.subprocess.run", lambda *_, **__: done)
    assert private._free_subnet() == ipaddress.IPv4Network("10.202.0.0/16")
