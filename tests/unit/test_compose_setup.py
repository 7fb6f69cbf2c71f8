"""What the jobs of docker-compose.yml write and say, without Docker."""

import json
import os
from pathlib import Path

import pytest
import yaml

from headrace.config import Config
from headrace.errors import ConfigError
from headrace.identity import ca
from headrace.stack import compose
from headrace.stack.plan import DEFAULT_CONFIG

NAMES = (
    "devices",
    "keys", "certs", "secrets", "mosquitto", "kafka", "store", "prometheus", "grafana", "registry", "registry-secrets",
    "hub", "hub-secrets",
)  # fmt: skip


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty volumes, with nobody's files changing hands: that takes root."""
    owners: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: owners.__setitem__(str(path), (uid, gid)))
    root = tmp_path / "volumes"
    for name in NAMES:
        (root / name).mkdir(parents=True)
    (tmp_path / "given").mkdir()
    return root


def run(volumes: Path, **environ: str) -> list[str]:
    return compose.setup(volumes, volumes.parent / "given", environ, Config.model_validate(DEFAULT_CONFIG))


def text(volumes: Path, name: str) -> str:
    return (volumes / name).read_text(encoding="utf-8")


def test_secrets_are_made_once(volumes: Path) -> None:
    assert len(run(volumes)) == 16 + 6, "two authorities, one with two servers, and the devices'"
    before = text(volumes, "secrets/mqtt_password")
    assert len(before.strip()) >= 12
    assert run(volumes) == []
    assert text(volumes, "secrets/mqtt_password") == before


def test_another_installation_has_other_secrets(volumes: Path, tmp_path: Path) -> None:
    run(volumes)
    first = json.loads(text(volumes, "keys/secrets.json"))
    (volumes / "keys" / "secrets.json").unlink()
    run(volumes)
    second = json.loads(text(volumes, "keys/secrets.json"))
    assert not set(first.values()) & set(second.values())


def test_each_server_finds_what_it_reads_and_nobody_else_may(volumes: Path) -> None:
    run(volumes)
    secret = json.loads(text(volumes, "keys/secrets.json"))
    identities = json.loads(text(volumes, "store/s3.json"))["identities"]
    assert identities[0]["credentials"] == [
        {"accessKey": text(volumes, "secrets/s3_access_key").strip(), "secretKey": secret["s3_secret_key"]}
    ]
    security = text(volumes, "store/security.toml")
    for section in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read", "s3.sse"):
        assert f"[{section}]\nkey = " in security
    users = [line.partition(":")[0] for line in text(volumes, "mosquitto/services.passwords").splitlines()]
    assert users == ["headrace", "health"]
    assert "user health\ntopic read $SYS/broker/uptime\n" in text(volumes, "mosquitto/services.acl")
    assert "pattern write sensors/%u/imu\n" in text(volumes, "devices/devices.acl")
    assert text(volumes, "devices/devices.passwords") == "", "nobody gets in before the agent has asked hub"
    (volumes / "devices" / "devices.passwords").write_text("board-01:x\n")
    run(volumes)
    assert text(volumes, "devices/devices.passwords") == "board-01:x\n"
    properties = text(volumes, "kafka/server.properties")
    assert f'user_headrace="{text(volumes, "secrets/kafka_password").strip()}"' in properties
    names = ("CLIENT", "HOST", "CONTROLLER")
    assert f"protocol.map={','.join(f'{n}:SASL_PLAINTEXT' for n in names)}\n" in properties
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (volumes / "kafka").iterdir()}
    assert modes["server.properties"] == "0o640", "the image adds to a copy that has this mode"
    assert sum(f"listener.name.{n.lower()}.plain.sasl.jaas.config=" in properties for n in names) == 3
    assert secret["kafka_broker_password"] not in "".join(p.read_text() for p in (volumes / "secrets").iterdir())
    password = text(volumes, "secrets/registry_password")
    assert f"quarkus.security.users.embedded.users.headrace={password}" in text(
        volumes, "registry-secrets/registry.properties"
    )
    assert text(volumes, "prometheus/metrics_token") == text(volumes, "secrets/metrics_token").strip()
    assert secret["mqtt_password"] not in text(volumes, "mosquitto/services.passwords")
    for path in volumes.rglob("*"):
        assert path.stat().st_mode & 0o007 == 0, path


def test_the_authorities_keys_stay_where_they_are(volumes: Path) -> None:
    run(volumes, MQTT_ADDRESS="0.0.0.0", MQTT_NAMES="plant.example, 10.1.2.3")
    assert sorted(p.relative_to(volumes) for p in volumes.rglob("ca.key")) == [
        Path("certs/ca.key"), Path("certs/devices/ca.key"), Path("certs/store/ca.key"), Path("hub-secrets/ca.key"),
    ]  # fmt: skip
    for where in ("mosquitto/devices-ca.pem", "secrets/devices-ca.pem", "hub-secrets/ca.pem"):
        assert text(volumes, where) == text(volumes, "certs/devices/ca.pem")
    assert "BEGIN X509 CRL" in text(volumes, "devices/devices.crl"), "without one Mosquitto would not start"
    for name, wanted in {"mosquitto": "ca", "store": "store/ca"}.items():
        assert text(volumes, f"{name}/ca.pem") == text(volumes, f"certs/{wanted}.pem")
    assert text(volumes, "secrets/ca.pem") == text(volumes, "certs/ca.pem")
    names = ca.facts(text(volumes, "mosquitto/mqtt.pem"), "it").names
    assert names == ("mosquitto", "localhost", "127.0.0.1", "::1", "plant.example", "10.1.2.3")
    assert "[grpc.s3]" in text(volumes, "store/security.toml"), "its port is open to the containers of its network"


def test_key_servers_that_are_given_reach_the_store(volumes: Path) -> None:
    run(volumes)
    assert "kms" not in json.loads(text(volumes, "store/s3.json"))
    file = volumes.parent / "given" / "kms.json"
    kms = {"default_provider": "bao", "providers": {"bao": {"type": "openbao", "token": "secret words"}}}
    file.write_text(json.dumps(kms))
    run(volumes)
    assert json.loads(text(volumes, "store/s3.json"))["kms"] == kms
    for wrong in (
        "{",
        "[]",
        '{"providers": {}}',
        '{"default_provider": "a", "providers": {"b": {}}, "t": "secret words"}',
    ):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=r"kms\.json") as error:
            run(volumes)
        assert "secret words" not in str(error.value)


def test_each_server_may_enter_the_volume_that_is_for_it(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apicurio Registry, for one, passes over settings that it can't read, and would let everybody in."""
    owners: dict[Path, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: owners.__setitem__(Path(path), (uid, gid)))
    run(volumes)
    file = Path(__file__).parents[2] / "docker-compose.yml"
    services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    for volume in ("mosquitto", "kafka", "store", "prometheus", "grafana", "registry-secrets"):
        user, group = map(int, services[volume.removesuffix("-secrets")]["user"].split(":"))
        assert owners.pop(volumes / volume) == (0, group), volume
        files = {owner for path, owner in owners.items() if path.parent == volumes / volume}
        assert files == {(user, group)}, volume
    assert services["registry"]["environment"]["QUARKUS_HTTP_AUTH_PERMISSION_ALL_POLICY"] == "authenticated"


def test_what_is_given_counts(volumes: Path) -> None:
    run(volumes)
    given = volumes.parent / "given"
    (given / "mqtt_password").write_text("from a file\n", encoding="utf-8")
    (given / "s3_access_key").write_text("FILE\n", encoding="utf-8")
    run(volumes, S3_ACCESS_KEY="ENV", MQTT_PASSWORD="")
    assert text(volumes, "secrets/mqtt_password") == "from a file\n"
    assert text(volumes, "secrets/s3_access_key") == "ENV\n"
    (given / "mqtt_password").unlink()
    run(volumes)
    assert text(volumes, "secrets/mqtt_password") == "from a file\n", "it stays until another is given"


@pytest.mark.parametrize("value", ["", "two\nlines", " spaces "])
def test_a_file_that_holds_no_password_is_refused(volumes: Path, value: str) -> None:
    (volumes.parent / "given" / "mqtt_password").write_text(value, encoding="utf-8")
    with pytest.raises(ConfigError, match="mqtt_password"):
        run(volumes)


@pytest.mark.parametrize("name", ["kafka_password", "registry_password", "metrics_token"])
def test_a_password_that_would_end_its_quotes_is_refused(volumes: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name.upper()} in .env: use letters"):
        run(volumes, **{name.upper(): 'a" user_nobody="b'})


def test_welcome_says_what_to_do(volumes: Path) -> None:
    run(volumes)
    names = ("MQTT", "KAFKA", "REGISTRY", "S3", "HUB", "INGEST", "GRAFANA")
    environ = {f"{name}_PORT": str(n) for n, name in enumerate(names, 1001)}
    told = compose.welcome(
        volumes / "secrets", {**environ, "MQTT_ADDRESS": "127.0.0.1"}, Config.model_validate(DEFAULT_CONFIG)
    )
    assert "127.0.0.1:1001" in told
    assert "headrace devices add board-01" in told
    assert "headrace contracts new --help" in told
    assert "http://127.0.0.1:1004" in told
    with pytest.raises(ConfigError, match="docker compose up"):
        compose.welcome(volumes / "nothing", {}, Config())


def test_provision_says_what_comes_next(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    monkeypatch.setattr("headrace.cli.context.config", Config)
    monkeypatch.setattr("headrace.operate.provision.topics", lambda _: ["imu.raw"])
    monkeypatch.setattr("headrace.operate.provision.contracts", lambda *_: {"imu": 1})
    monkeypatch.setattr("headrace.operate.provision.bucket", lambda _: None)
    assert compose.main(["provision"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == ["topics: imu.raw created", "contracts: imu has schema id 1", "bucket: headrace"]
    assert "docker compose run --rm welcome" in said[3]


def test_errors_are_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    assert compose.main(["nonsense"]) == 2
    assert capsys.readouterr().err == "usage: python -m headrace.stack.compose setup|provision|welcome\n"
