"""What docker-compose.yml promises, read from the file itself; tests/compose runs it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import check, load
from headrace.config.connect import Sse
from headrace.stack import compose, kafka, mosquitto
from headrace.stack.plan import DEFAULT_CONFIG, DEFAULT_PORTS, HASTE, INNER_PORTS, StackPlan
from headrace.stack.state import State

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
JOBS = {"setup", "provision", "headrace", "welcome"}  # they end
LONG = sorted(set(SERVICES) - JOBS)
# Only the first needs a capability: it gives files to the users who read them.
CAPABILITIES = {"setup": ["CHOWN", "DAC_OVERRIDE"]}
OPEN = {  # with a password, a certificate or a key, and only where .env says so
    f"${{MQTT_ADDRESS:-127.0.0.1}}:${{MQTT_{name}:-{port}}}:{port}"
    for name, port in (("PORT", 1883), ("CERTIFICATES_PORT", 8884), ("PSK_PORT", 8885), ("WEBSOCKETS_PORT", 9001))
} | {"${HUB_ADDRESS:-127.0.0.1}:${HUB_TLS_PORT:-8443}:8443"}
PATHS = (
    "password_file",
    "acl_file",
    "persistence_location",
    "listener",
    "user",
    "pid_file",
    "certfile",
    "keyfile",
    "cafile",
    "crlfile",
    "psk_file",
    "use_username_as_clientid",
)


@pytest.fixture(scope="module")
def plan() -> StackPlan:
    """The native stack's, to compare with."""
    ports = dict.fromkeys((*DEFAULT_PORTS, *INNER_PORTS), 1)
    secrets = {"kafka": "k", "kafka_broker": "b"}
    return StackPlan(State(Path("/state")), ports, secrets, load(None, {}), None, None)


@pytest.mark.clause("EN 5.5-1")
@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_closed(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+:\d+", service["user"])
    assert service["user"] != "0:0" or name == "setup"
    assert service["mem_limit"]
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert "container_name" not in service
    assert "privileged" not in service
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:") or port in OPEN


@pytest.mark.clause("CR 3.10")
@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.match(r"v?\d+\.\d+", tag)
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    if image.startswith("headrace/"):
        assert tag == version[1]
        assert SERVICES[name]["build"] == {"context": ".", "target": image.removeprefix("headrace/")}


@pytest.mark.parametrize("name", LONG)
def test_services_are_watched_restarted_and_given_time(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert int(service["stop_grace_period"].removesuffix("s")) >= 20


@pytest.mark.parametrize("name", sorted(JOBS))
def test_jobs_end(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    assert SERVICES[name]["healthcheck"] == {"disable": True}


def test_services_wait_for_what_they_need() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
            assert how == {"condition": wanted}, (name, other)


def test_the_store_is_reached_through_s3_alone() -> None:
    store = SERVICES["store"]
    assert [port.rpartition(":")[2] for port in store["ports"]] == ["8333"]
    assert {"-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0", "-ip=127.0.0.1"} <= set(store["command"])
    on_it = {name for name, service in SERVICES.items() if "store" in service.get("networks", [])}
    assert on_it == {"store", "provision", "bridge", "ingest", "clean", "derive", "archive", "compact", "headrace"}


def test_secrets_reach_only_their_readers() -> None:
    for volume, readers in {
        "keys": {"setup"},
        "certs": {"setup"},
        "mosquitto-secrets": {"setup", "mosquitto"},
        "mosquitto-devices": {"setup", "mosquitto", "agent"},
        "kafka-secrets": {"setup", "kafka"},
        "registry-secrets": {"setup", "registry"},
        "store-secrets": {"setup", "store"},
        "prometheus-secrets": {"setup", "prometheus"},
        "grafana-secrets": {"setup", "grafana"},
        "hub-secrets": {"setup", "hub"},
    }.items():
        assert readers == {
            n for n, s in SERVICES.items() if any(v.startswith(f"{volume}:") for v in s.get("volumes", []))
        }


def test_kafka_is_set_as_in_the_local_stack(plan: StackPlan) -> None:
    env = SERVICES["kafka"]["environment"]
    elsewhere = {"controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs", *kafka.logins("", "")}
    for line in kafka.properties(plan).splitlines():
        key, _, value = line.partition("=")
        if key not in elsewhere:
            assert env[f"KAFKA_{key.upper().replace('.', '_')}"] == value
    assert "JAAS" not in str(env), "docker inspect would show the passwords"


def test_mosquitto_is_set_as_in_the_local_stack(plan: StackPlan) -> None:
    def settings(text: str) -> list[str]:
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and line[0] != "#" and line.split()[0] not in PATHS]

    ours = (ROOT / "compose" / "mosquitto.conf").read_text(encoding="utf-8")
    assert settings(ours) == settings(mosquitto.configuration(plan))


def test_the_configuration_is_the_local_stacks() -> None:
    config = load(ROOT / "compose" / "headrace.yaml", {})
    assert config == load(None, {}, over={**DEFAULT_CONFIG, "archive": HASTE})


def test_hub_finds_what_it_needs_also_where_the_users_file_has_other_streams_only(tmp_path: Path) -> None:
    for name in compose.GIVEN_NAMES:
        (tmp_path / name).write_text(f"{name}-of-many-characters")
    mine = tmp_path / "my.yaml"
    mine.write_text("streams: {pump: {routes: ['plant/{device_id}/pump']}}")
    for service in ("hub", "headrace"):
        raw = {k: v.replace("/run/secrets", str(tmp_path)) for k, v in SERVICES[service]["environment"].items()}
        environ = {k: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", v) for k, v in raw.items()}  # as without .env
        config = load(mine, environ)
        assert set(config.streams) == {"pump", "device_events", "device_audit"}
        assert config.store.sse == Sse(kind="s3")
        assert config.hub.url == "http://hub:8090"
        if service == "hub":
            assert check.problems(config, [check.Service.HUB]) == []
            assert config.hub.serve.port == int(SERVICES["hub"]["ports"][0].rpartition(":")[2])
        else:
            assert config.hub.token is not None


def test_what_env_example_names_is_used_and_shows_the_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    shown = dict(line.removeprefix("#").split("=", 1) for line in lines if re.match(r"#?[A-Z0-9_]+=", line))
    assert shown == used


def test_what_is_mounted_from_the_repository_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, source)
