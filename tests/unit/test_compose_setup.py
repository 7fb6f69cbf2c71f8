"""What the jobs of docker-compose.yml write and say, without Docker."""

import json
import os
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.errors import ConfigError
from headrace.stack import compose
from headrace.stack.plan import DEFAULT_CONFIG

NAMES = ("keys", "secrets", "mosquitto", "store", "grafana", "registry")


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
    assert len(run(volumes)) == 11
    before = text(volumes, "secrets/device_password")
    assert len(before.strip()) >= 12
    assert run(volumes) == []
    assert text(volumes, "secrets/device_password") == before


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
    users = [line.partition(":")[0] for line in text(volumes, "mosquitto/passwords").splitlines()]
    assert users == ["headrace", "device", "health"]
    assert "user health\ntopic read $SYS/broker/uptime\n" in text(volumes, "mosquitto/acl")
    assert secret["mqtt_password"] not in text(volumes, "mosquitto/passwords")
    for path in volumes.rglob("*"):
        assert path.stat().st_mode & 0o007 == 0, path


def test_what_is_given_counts(volumes: Path) -> None:
    run(volumes)
    given = volumes.parent / "given"
    (given / "device_password").write_text("from a file\n", encoding="utf-8")
    (given / "s3_access_key").write_text("FILE\n", encoding="utf-8")
    run(volumes, S3_ACCESS_KEY="ENV", MQTT_PASSWORD="")
    assert text(volumes, "secrets/device_password") == "from a file\n"
    assert text(volumes, "secrets/s3_access_key") == "ENV\n"
    (given / "device_password").unlink()
    run(volumes)
    assert text(volumes, "secrets/device_password") == "from a file\n", "it stays until another is given"


@pytest.mark.parametrize("value", ["", "two\nlines", " spaces "])
def test_a_file_that_holds_no_password_is_refused(volumes: Path, value: str) -> None:
    (volumes.parent / "given" / "mqtt_password").write_text(value, encoding="utf-8")
    with pytest.raises(ConfigError, match="mqtt_password"):
        run(volumes)


def test_welcome_says_what_to_do(volumes: Path) -> None:
    run(volumes)
    environ = {f"{name}_PORT": str(n) for n, name in enumerate(("MQTT", "KAFKA", "REGISTRY", "S3", "GRAFANA"), 1001)}
    told = compose.welcome(
        volumes / "secrets", {**environ, "MQTT_ADDRESS": "127.0.0.1"}, Config.model_validate(DEFAULT_CONFIG)
    )
    password = text(volumes, "secrets/device_password").strip()
    assert f"mosquitto_pub -h 127.0.0.1 -p 1001 -u device -P {password} -q 1 -t sensors/board-01/environment" in told
    assert "http://127.0.0.1:1004" in told
    with pytest.raises(ConfigError, match="docker compose up"):
        compose.welcome(volumes / "nothing", {}, Config())


def test_provision_says_what_comes_next(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    monkeypatch.setattr("headrace.cli.context.config", Config)
    monkeypatch.setattr("headrace.provision.topics", lambda _: ["imu.raw"])
    monkeypatch.setattr("headrace.provision.contracts", lambda _: {"imu": 1})
    monkeypatch.setattr("headrace.provision.bucket", lambda _: None)
    assert compose.main(["provision"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == ["topics: imu.raw created", "contracts: imu has schema id 1", "bucket: headrace"]
    assert "docker compose run --rm welcome" in said[3]


def test_errors_are_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    assert compose.main(["nonsense"]) == 2
    assert capsys.readouterr().err == "setup, provision or welcome\n"
