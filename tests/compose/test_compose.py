"""docker-compose.yml runs: readings in, rows out, services killed, down and up again, and nothing left behind.

The tests go on from each other, in this order. Images that can't be pulled are stand-ins (standins.py); it is printed
which.
"""

import errno
import json
import re
import shlex
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import FatalError
from headrace.runtime import http
from tests import stranger
from tests.compose.engine import Docker, engine
from tests.compose.project import SERVERS, WORKERS, Project
from tests.compose.standins import PYTHON, provide
from tests.waiting import until

PROFILES = ("--profile", "cli", "--profile", "demo", "--profile", "observability")


@pytest.fixture(scope="module")
def say(request: pytest.FixtureRequest) -> Any:
    """Print a line past pytest's capture."""
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")

    def line(words: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  {words}", end="", flush=True)

    return line


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with engine(tmp_path_factory.mktemp("engine")) as it:
        yield it


@pytest.fixture(scope="module")
def project(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Project:
    it = Project(docker, tmp_path_factory.mktemp("checkout") / "headrace")
    it.lay_out()
    return it


@pytest.fixture(scope="module")
def rendered(project: Project) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(project.compose(*PROFILES, "config", "--format", "json"))
    return out


@pytest.fixture(scope="module")
def images(docker: Docker, rendered: dict[str, Any], say: Any) -> dict[str, str]:
    """What each image is that is not ours."""
    ours = {s["image"] for s in rendered["services"].values() if "build" in s}
    names = sorted({s["image"] for s in rendered["services"].values()} - ours)
    out = provide(docker, [PYTHON, *names])
    for name, what in out.items():
        say(f"{name}: {what}")
    return out


@pytest.fixture(scope="module")
def up(project: Project, images: dict[str, str], rendered: dict[str, Any], say: Any) -> Iterator[Project]:
    """The stack as `docker compose up` makes it from nothing. Whatever happens, it is gone at the end."""
    needed = [s for s in SERVERS if images[rendered["services"][s]["image"]].startswith("absent")]
    if needed:
        pytest.skip(f"no image for {', '.join(needed)}")
    try:
        begin = time.monotonic()
        project.compose("build", timeout=1800)
        built = time.monotonic()
        _up(project)
        say(f"images built in {built - begin:.0f} s, the stack up {time.monotonic() - built:.0f} s later")
        yield project
    finally:
        project.compose(*PROFILES, "down", "--volumes", "--timeout", "30", ok=False)


def _up(project: Project, *args: str) -> None:
    try:
        project.compose("up", "--detach", "--wait", "--wait-timeout", "600", *args, timeout=900)
    except FatalError as e:
        logs = project.compose("logs", "--no-color", "--tail", "25", ok=False)
        pytest.fail(f"{e}\n{logs}", pytrace=False)


def test_every_published_port_is_on_loopback(rendered: dict[str, Any], project: Project) -> None:
    published = [p for s in rendered["services"].values() for p in s.get("ports", [])]
    assert {p["host_ip"] for p in published} == {"127.0.0.1"}
    assert {int(p["published"]) for p in published} == set(project.ports.values())


def test_env_example_changes_nothing(project: Project) -> None:
    lines = (project.folder / ".env.example").read_text(encoding="utf-8").splitlines()
    example = project.folder.parent / "example.env"
    example.write_text("\n".join(re.sub(r"^#(?=[A-Z0-9_]+=)", "", line) for line in lines), encoding="utf-8")
    empty = project.folder.parent / "empty.env"
    empty.touch()
    one, two = (project.compose(*PROFILES, "--env-file", str(f), "config") for f in (example, empty))
    assert one == two


def test_images_are_small(up: Project, docker: Docker, rendered: dict[str, Any], say: Any) -> None:
    """Those of the Dockerfile, with their base."""
    sizes = {}
    for image in sorted({s["image"] for s in rendered["services"].values() if "build" in s}):
        sizes[image] = int(docker.run("image", "inspect", "--format", "{{.Size}}", image).stdout) / 1e6
        say(f"{image}: {sizes[image]:.0f} MB")
    (bridge,), (processors,) = ([n for name, n in sizes.items() if part in name] for part in ("bridge", "processors"))
    assert bridge < 275
    assert processors < 800


def test_everything_is_healthy_and_within_its_memory(up: Project, say: Any) -> None:
    for service in (*SERVERS, *WORKERS):
        found = up.inspect(service)
        assert found["State"]["Health"]["Status"] == "healthy"
        assert not found["State"]["OOMKilled"]
        for bound in found["NetworkSettings"]["Ports"].values():
            assert {b["HostIp"] for b in bound or []} <= {"127.0.0.1"}
    stats = up.docker.run(
        "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *up.compose("ps", "-q").split()
    )
    for line in sorted(stats.stdout.splitlines()):
        say(line.removeprefix(f"{up.name}-"))


def test_a_device_that_is_added_publishes_with_the_line_that_is_printed(up: Project) -> None:
    told = up.compose("--progress", "quiet", "run", "--rm", "--no-TTY", "welcome")
    assert "headrace devices add board-01" in told
    line = json.loads(up.headrace("devices", "add", "board-01", "--json"))["command"]
    words = shlex.split(line)
    assert words[1:5] == ["-h", "127.0.0.1", "-p", str(up.ports["MQTT_PORT"])]
    words[4] = "1883"  # in the broker's own container, since this machine may have no mosquitto_pub
    up.compose("exec", "--no-TTY", "mosquitto", *words)
    sql = "select temperature, humidity from environment where device_id = 'board-01'"
    row = {"temperature": 21.5, "humidity": 40.0}
    until(lambda: json.loads(up.headrace("query", "--format", "json", sql) or "[]") == [row], 60, "the row", pause=1)


def test_a_wrong_password_is_refused(up: Project) -> None:
    args = ("exec", "--no-TTY", "mosquitto", "mosquitto_pub", "-u", "device", "-P", "wrong", "-t", "a", "-m", "b")
    assert up.docker.compose(*args, cwd=up.folder, ok=False).returncode != 0
    unsigned = f"http://127.0.0.1:{up.ports['S3_PORT']}/headrace?list-type=2"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(unsigned, timeout=10)


def _secret(up: Project, name: str) -> str:
    show = ("run", "--rm", "--no-TTY", "--entrypoint", "cat", "headrace", f"/run/secrets/{name}")
    return up.compose("--progress", "quiet", *show).strip()


def test_kafka_and_the_registry_are_for_who_has_the_password(up: Project) -> None:
    kafka_at, registry = f"127.0.0.1:{up.ports['KAFKA_PORT']}", f"http://127.0.0.1:{up.ports['REGISTRY_PORT']}"
    api = f"{registry}/apis/ccompat/v7"
    asked = (
        f"GET {api}/subjects",
        f"DELETE {api}/subjects/imu.raw-value",
        f"GET {registry}/apis/registry/v3/admin/export",
    )
    found = stranger.tries("kafka", kafka_at, "imu.raw") | stranger.tries("web", *asked)
    assert not {what: answer for what, answer in found.items() if answer}
    sasl = {"username": "headrace", "password": _secret(up, "kafka_password")}
    assert kafka.probe(Kafka.model_validate({"bootstrap": kafka_at, "sasl": sasl})) == 1
    login = http.basic("headrace", _secret(up, "registry_password"))
    assert "imu.raw-value" in json.loads(http.get(f"{api}/subjects", 10.0, login))


def test_metrics_are_for_who_has_the_token(up: Project) -> None:
    """Seen from a container of the same network."""
    code = (
        "from headrace.runtime import http\n"
        "token = open('/run/secrets/metrics_token').read().strip()\n"
        f"for service in {WORKERS}:\n"
        "    for login in ('', http.bearer('guess'), http.bearer(token)):\n"
        "        print(http.status_of('http://' + service + ':8080/metrics', 5.0, login)[0], end=' ')"
    )
    run = ("--progress", "quiet", "run", "--rm", "--no-TTY", "--entrypoint", "python", "headrace", "-c", code)
    assert up.compose(*run).split() == ["401", "401", "200"] * len(WORKERS)


def test_docker_shows_no_secret(up: Project) -> None:
    """Neither in what it knows of a container nor in its log."""
    known = {
        name: _secret(up, name) for name in ("mqtt_password", "kafka_password", "registry_password", "metrics_token")
    }
    for service in (*SERVERS, *WORKERS):
        shown = json.dumps(up.inspect(service)) + up.compose("logs", "--no-color", service)
        assert not [name for name, value in known.items() if value in shown], service


def test_nothing_is_lost_where_bridge_or_clean_is_killed(up: Project, say: Any) -> None:
    before = up.verify()["streams"]["imu"]
    with up.fleet("--streams", "imu", "--devices", "3", "--rate", "100", "--duration", "40", "--defects") as sent:
        time.sleep(5)
        for service in ("bridge", "clean"):
            begin = time.monotonic()
            up.kill(service)
            say(f"{service} killed, and healthy again {time.monotonic() - begin:.0f} s later")
    after, expected = up.verify()["streams"]["imu"], sent["imu"]["expected"]
    assert after["stored"] - before["stored"] == expected["stored"]
    assert after["dead_letters"] - before["dead_letters"] == expected["dead_letters"]
    assert after["repeats_dropped"] - before["repeats_dropped"] >= expected["repeated"]
    say(f"{expected['stored']:,} readings stored, none lost, none double")


def test_the_store_has_no_other_door_than_s3(up: Project) -> None:
    """Not from the host, which reaches a container by its address, nor from a container of the same network."""
    address = next(iter(up.inspect("store")["NetworkSettings"]["Networks"].values()))["IPAddress"]
    doors = {"master": 9333, "master's gRPC": 19333, "filer": 8888, "filer's gRPC": 18888, "volumes": 8080}
    if up.docker.private:
        socket.create_connection((address, 8333), timeout=5).close()
        for name, port in doors.items():
            with socket.socket() as door:
                assert door.connect_ex((address, port)) == errno.ECONNREFUSED, f"{name} is open"
    code = (
        "import socket, sys\n"
        "assert socket.socket().connect_ex(('store', 8333)) == 0\n"
        f"print([n for n in {sorted(doors.values())} if socket.socket().connect_ex(('store', n)) == 0])"
    )
    run = ("--progress", "quiet", "run", "--rm", "--no-TTY", "--entrypoint", "python", "headrace", "-c", code)
    assert up.compose(*run).strip() == "[]"


def test_metrics_are_scraped(up: Project, images: dict[str, str], rendered: dict[str, Any]) -> None:
    image = rendered["services"]["prometheus"]["image"]
    if images[image].startswith("absent"):
        pytest.skip(f"{image}: {images[image]}")
    names = ("prometheus", "broker-metrics")
    up.compose("--profile", "observability", "up", "--detach", "--wait", *names)
    url = f"http://127.0.0.1:{up.ports['PROMETHEUS_PORT']}/api/v1"

    def health() -> dict[str, str]:
        with urllib.request.urlopen(f"{url}/targets", timeout=10) as answer:
            return {t["labels"]["job"]: t["health"] for t in json.load(answer)["data"]["activeTargets"]}

    try:
        until(lambda: set(health().values()) == {"up"}, 60, "every service is scraped")
        assert set(health()) == {"bridge", "ingest", "clean", "derive", "archive", "compact", "hub", "broker-metrics"}
        with urllib.request.urlopen(f"{url}/rules", timeout=10) as answer:
            assert json.load(answer)["data"]["groups"]
    finally:
        up.compose("--profile", "observability", "rm", "--stop", "--force", *names)


def test_down_and_up_again_keeps_everything(up: Project, say: Any) -> None:
    sql = "select (select count(*) from imu) as imu, (select count(*) from environment) as environment"
    before = json.loads(up.headrace("query", "--format", "json", sql))
    begin = time.monotonic()
    up.compose("down")
    assert up.left()["containers"] == []
    stopped = time.monotonic()
    _up(up)
    say(f"down in {stopped - begin:.0f} s, up again in {time.monotonic() - stopped:.0f} s")
    assert json.loads(up.headrace("query", "--format", "json", sql)) == before
    assert "passwords, keys and certificates: all there" in up.compose("logs", "setup")
    with up.fleet("--streams", "environment", "--devices", "2", "--environment-interval", "1", "--duration", "5"):
        pass
    after = up.verify()["streams"]["environment"]
    assert after["stored"] > before[0]["environment"]


def test_files_beside_the_configuration_are_used_and_a_refused_contract_stops_its_own_stream(up: Project) -> None:
    """A transform, the schema of a format, and a contract that can't follow the registered one; then `up`."""
    folder = up.folder / "compose"
    settings = yaml.safe_load((folder / "headrace.yaml").read_text(encoding="utf-8"))
    packed = {"filter": "packed/{device_id}", "format": "avro", "avro": {"file": "formats/device.avsc"}}
    environment = settings["streams"]["environment"]
    environment |= {"routes": [*environment["routes"], packed], "transform": "transforms/room.py"}
    (folder / "headrace.yaml").write_text(yaml.safe_dump(settings | {"contracts": ["contracts"]}), encoding="utf-8")
    (folder / "transforms" / "room.py").write_text(
        'def transform(df):\n    df["humidity"] = df.temperature * 2\n    return df\n', encoding="utf-8"
    )
    device = {"type": "record", "name": "device", "fields": [{"name": "temperature", "type": "double"}]}
    (folder / "formats" / "device.avsc").write_text(json.dumps(device), encoding="utf-8")
    contract = json.loads((up.folder / "schemas" / "vibration.avsc").read_text(encoding="utf-8"))
    (rate,) = (f for f in contract["fields"] if f["name"] == "sampling_rate")
    for rule in ("unit", "minimum", "maximum", "on_violation"):
        del rate[rule]
    rate["type"] = "string"
    (folder / "contracts" / "vibration.avsc").write_text(json.dumps(contract), encoding="utf-8")
    _up(up, "--force-recreate")
    words = shlex.split(json.loads(up.headrace("devices", "add", "board-02", "--json"))["command"])
    words[4] = "1883"
    send = [*words[: words.index("-t")], "-t", "packed/board-02", "-s"]
    datum = struct.pack("<d", 20.0).decode()  # none of its bytes is beyond ASCII
    up.compose("exec", "--no-TTY", "mosquitto", *send, stdin=datum)
    sql = "select temperature, humidity, _quality from environment where device_id = 'board-02'"
    rows = until(lambda: json.loads(up.headrace("query", "--format", "json", sql) or "[]"), 60, "the row")
    assert (rows[0]["temperature"], rows[0]["humidity"]) == (20.0, 40.0)
    assert rows[0]["_quality"].startswith("humidity:transform:")
    with up.fleet("--streams", "vibration", "--devices", "1", "--duration", "5") as sent:
        pass
    letters = json.loads(up.headrace("dlq", "list", "--stream", "vibration", "--json"))
    refused = [it for it in letters["letters"] if it["reason"] == "contract_refused"]
    assert len(refused) == sent["vibration"]["expected"]["stored"] > 0


def test_nothing_is_left(up: Project) -> None:
    up.compose(*PROFILES, "down", "--volumes")
    assert up.left() == {"containers": [], "volumes": [], "networks": []}
