"""The jobs of docker-compose.yml: make secrets before anything starts, provision, say what to do next.

    python -m headrace.stack.compose setup | provision | welcome

`setup` makes each password and key once and keeps all of them in a volume of its own; the certificates, which it also
renews, in another. Into the volume of each server it writes what that server reads, readable by its user only. Values
given in the environment or as files count first.
"""

import json
import os
import re
import secrets
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from headrace.config import Config, load
from headrace.config.find import config_file
from headrace.contracts.sqlnames import quoted
from headrace.errors import ConfigError, HeadraceError
from headrace.operate import brokercerts, brokerfiles, mqttaccess
from headrace.operate.mqttusers import password_line
from headrace.operate.provision import Part, provide
from headrace.stack import certs, kafka, mosquitto, properties, registry, store
from headrace.stack.plan import HOST, USER

VOLUMES, GIVEN, SECRETS = Path("/volumes"), Path("/given"), Path("/run/secrets")
SEAWEEDFS_FILES = Path("/usr/local/etc/seaweedfs")  # where the store has its volume
# Who reads each volume: the users of the images.
HEADRACE_GID, MOSQUITTO, KAFKA, SEAWEEDFS, GRAFANA, REGISTRY = 10001, 1883, 1000, 1000, 472, 1001
PROMETHEUS = 65534
HEALTH_USER = "health"  # may read for how long the broker is up, and nothing else
# They go into files that give other characters a meaning, or into a header.
PLAIN_NAMES = ("kafka_password", "registry_password", "metrics_token", "hub_admin_token", "hub_broker_token")
GIVEN_NAMES = ("mqtt_password", "s3_access_key", "s3_secret_key", "grafana_password", *PLAIN_NAMES)
_PLAIN = re.compile(r"[A-Za-z0-9._~+/=-]+")
KAFKA_LISTENERS = ("CLIENT", "HOST")  # in the containers' network, and on this machine
WAIT_SECONDS = 60.0  # for servers that have only just become healthy
NEXT = "The services start now. What is where, and what to do next: docker compose run --rm welcome"
ALIAS = """alias headrace='docker compose run --rm --user "$(id -u):10001" headrace'"""


class Reader(NamedTuple):
    """Who owns the files of a volume and may read them."""

    uid: int
    gid: int


def setup(volumes: Path, given: Path, environ: Mapping[str, str], config: Config) -> list[str]:
    """Write every secret and certificate to the volumes below `volumes`. Returns what was made or renewed now.

    ConfigError for a value that can't be used. To run it again changes nothing, unless other values are given.
    """
    kept = _kept(volumes / "keys" / "secrets.json")
    chosen = {name: value for name in GIVEN_NAMES if (value := _given(name, given, environ))}
    made = {name: value for name, value in _random().items() if name not in kept and name not in chosen}
    all_ = {**made, **kept, **chosen}
    _write(volumes / "keys", {"secrets.json": json.dumps(all_, indent=1) + "\n"}, Reader(0, 0))
    own = volumes / "certs"
    hosts = _hosts(environ)
    renewed = certs.keep(own, {certs.MQTT: hosts, certs.HUB: ["hub", *hosts[1:]]})
    devices = {"devices-ca.pem": (own / certs.DEVICES / "ca.pem").read_text(encoding="utf-8")}
    given_out = {name: all_[name] + "\n" for name in GIVEN_NAMES} | _files(own, "ca.pem") | devices
    _write(volumes / "secrets", given_out, Reader(0, HEADRACE_GID))
    mqtt = _mosquitto(all_) | _files(own, "ca.pem", "mqtt.pem", "mqtt.key") | devices
    _write(volumes / "mosquitto", mqtt, Reader(MOSQUITTO, MOSQUITTO))
    hub = _files(own / certs.DEVICES, "ca.pem", "ca.key") | _files(own, "hub.pem", "hub.key")
    _write(volumes / "hub-secrets", hub, Reader(0, HEADRACE_GID))
    _devices(volumes / "devices", config, own / certs.DEVICES / "ca.pem")
    inner = _store(all_, _kms(given)) | _files(own / certs.STORE, "ca.pem", "store.pem", "store.key")
    _write(volumes / "store", inner, Reader(SEAWEEDFS, SEAWEEDFS))
    # Writable: the image copies the settings with their mode, and adds to the copy.
    _write(volumes / "kafka", _kafka(all_), Reader(KAFKA, KAFKA), mode=0o640)
    ways = {"registry.properties": properties.text(registry.logins(all_["registry_password"]))}
    _write(volumes / "registry-secrets", ways, Reader(REGISTRY, 0))
    token = {"metrics_token": all_["metrics_token"]}
    _write(volumes / "prometheus", token, Reader(PROMETHEUS, PROMETHEUS))
    _write(volumes / "grafana", {"admin_password": all_["grafana_password"]}, Reader(GRAFANA, 0))
    # The images have no folders whose owners Docker could take for the volumes'.
    for data, uid, gid in ((volumes / "registry", REGISTRY, 0), (volumes / "hub", HEADRACE_GID, HEADRACE_GID)):
        if data.stat().st_uid != uid:
            data.chmod(0o700)
            os.chown(data, uid, gid)
    return [*sorted(made), *renewed]


def _hosts(environ: Mapping[str, str]) -> list[str]:
    """The names and addresses in the broker's certificate: in the network of Compose, on this host, and given ones."""
    given = [h for name in ("MQTT_NAMES", "MQTT_ADDRESS") for h in environ.get(name, "").replace(",", " ").split()]
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared with
    return [h for h in dict.fromkeys(("mosquitto", *certs.LOOPBACK, *given)) if h not in everywhere]


def _files(folder: Path, *names: str) -> dict[str, str]:
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


def _random() -> dict[str, str]:
    return {
        "mqtt_password": secrets.token_urlsafe(18),
        "health_password": secrets.token_urlsafe(18),
        "kafka_password": secrets.token_urlsafe(24),
        "kafka_broker_password": secrets.token_urlsafe(24),
        "registry_password": secrets.token_urlsafe(24),
        "metrics_token": secrets.token_urlsafe(24),
        "s3_access_key": "HR" + secrets.token_hex(8).upper(),
        "s3_secret_key": secrets.token_urlsafe(30),
        "grafana_password": secrets.token_urlsafe(12),
        "hub_admin_token": secrets.token_urlsafe(32),
        "hub_broker_token": secrets.token_urlsafe(32),
        "sse": secrets.token_hex(32),
        **{f"sign{n}": secrets.token_urlsafe(32) for n in range(4)},
    }


def _kept(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _given(name: str, folder: Path, environ: Mapping[str, str]) -> str:
    """The value from .env, else from a file; empty when neither gives one."""
    where, value = f"{name.upper()} in .env", environ.get(name.upper(), "")
    if not value and (folder / name).is_file():
        where, value = f"the secret {name}", (folder / name).read_text(encoding="utf-8").removesuffix("\n")
        if not value:
            raise ConfigError(f"{where} is empty: give a value, or remove the file")
    if any(ord(c) < 0x20 for c in value) or value != value.strip():
        raise ConfigError(f"{where}: remove line breaks, and spaces at its ends")
    if name in PLAIN_NAMES and value and not _PLAIN.fullmatch(value):
        raise ConfigError(f"{where}: use letters, digits and . _ ~ + / = - only")
    return value


def _mosquitto(secret: dict[str, str]) -> dict[str, str]:
    services = ((USER, "mqtt_password"), (HEALTH_USER, "health_password"))
    return {
        "services.passwords": "".join(password_line(user, secret[name]) for user, name in services),
        "services.acl": f"{mosquitto.SERVICES_ACCESS}\nuser {HEALTH_USER}\ntopic read $SYS/broker/uptime\n",
        # Options that mosquitto_sub reads by itself, so that the health check's password is in no command line.
        "mosquitto_sub": f"-h {HOST}\n-p 1884\n-u {HEALTH_USER}\n-P {secret['health_password']}\n",
    }


def _devices(folder: Path, config: Config, authority: Path) -> None:
    """The files that the agent keeps from now on: nobody gets in before it has asked hub."""
    if folder.stat().st_uid != MOSQUITTO:
        folder.chmod(0o750)
        os.chown(folder, MOSQUITTO, MOSQUITTO)
    texts = {brokerfiles.ACCESS: mqttaccess.devices(config), brokerfiles.PASSWORDS: "", brokerfiles.PSKS: ""}
    for name, text in texts.items():
        if not (folder / name).is_file():
            brokerfiles.replace(folder / name, text)
    brokercerts.prepare(folder, authority)
    for name in (*texts, brokercerts.CRL):
        os.chown(folder / name, MOSQUITTO, MOSQUITTO)


def _kafka(secret: dict[str, str]) -> dict[str, str]:
    asks = kafka.logins(secret["kafka_password"], secret["kafka_broker_password"], KAFKA_LISTENERS)
    # The image's own way of logging writes files too, for which there is no room.
    return {"server.properties": properties.text(asks), "log4j2.yaml": kafka.LOGGING}


def _kms(folder: Path) -> dict[str, Any]:
    """The key servers of SSE-KMS, as SeaweedFS takes them; empty when none is given."""
    file = folder / "kms.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ConfigError(f"the secret kms.json is not JSON: line {getattr(e, 'lineno', '?')}") from None
    if not isinstance(found, dict) or found.get("default_provider") not in (found.get("providers") or {}):
        raise ConfigError('the secret kms.json: expected {"default_provider": NAME, "providers": {NAME: {...}}}')
    return found


def _store(secret: dict[str, str], kms: dict[str, Any]) -> dict[str, str]:
    return {
        "security.toml": f'{store.security(secret, SEAWEEDFS_FILES)}[s3.sse]\nkey = "{secret["sse"]}"\n',
        "s3.json": store.identities(secret["s3_access_key"], secret["s3_secret_key"], kms),
    }


def _write(folder: Path, files: dict[str, str], reader: Reader, mode: int = 0o440) -> None:
    """Replace the files of a volume, each as a whole, in a folder that only their readers enter."""
    os.chown(folder, 0, reader.gid)  # first: Docker gave it to the owner of that folder in the server's image
    folder.chmod(0o750)
    for name, text in files.items():
        fresh = folder / f".{name}"
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as out:
            out.write(text)
        os.chown(fresh, reader.uid, reader.gid)
        fresh.replace(folder / name)


def welcome(folder: Path, environ: Mapping[str, str], config: Config) -> str:
    """Addresses, and what to do next."""
    login = f"user admin, password {_read(folder / 'grafana_password')}"
    named = ("mqtt", "kafka", "registry", "s3", "hub", "ingest", "grafana")
    port = {name: environ[f"{name.upper()}_PORT"] for name in named}
    stream = next(iter(config.streams))
    steps = [
        ("headrace devices add board-01", "a device: prints the command that sends a reading as it"),
        ("headrace simulate --duration 30", "a fleet of devices, for half a minute"),
        (f"headrace tail {stream}", "the readings as they come"),
        (f"headrace query 'select count(*) from {quoted(stream)}'", "the lake, seconds later"),  # noqa: S608 - shown
        ("headrace contracts new --help", "your own payload: a contract and a route of what your devices send"),
        ("headrace verify --wait 60", "checks that no reading is lost or stored twice"),
        ("docker compose ps", "how everything is; `docker compose logs SERVICE` for more"),
        ("docker compose down", "stops it; the data stays, unless with --volumes"),
    ]
    width = max(len(words) for words, _ in steps)
    shown = "docker compose run --rm --entrypoint cat headrace"
    keys = f"{shown} {SECRETS}/s3_access_key {SECRETS}/s3_secret_key"
    return "\n".join([
        f"  MQTT      {environ['MQTT_ADDRESS']}:{port['mqtt']}   (each device with a password of its own)",
        f"  Kafka     {HOST}:{port['kafka']}   (SASL PLAIN, user {USER}, password: {shown} {SECRETS}/kafka_password)",
        f"  registry  http://{HOST}:{port['registry']}   (user {USER}, password: {shown} {SECRETS}/registry_password)",
        f"  S3        http://{HOST}:{port['s3']}   (keys: {keys})",
        f"  hub       http://{HOST}:{port['hub']}   (token: {shown} {SECRETS}/hub_admin_token)",
        f"  ingest    http://{HOST}:{port['ingest']}/readings   (POST, with a device's id and password)",
        f"  Grafana   http://{HOST}:{port['grafana']}   (with --profile observability; {login})",
        "",
        "Next, in the folder of docker-compose.yml:",
        f"  {ALIAS}",
        *(f"  {words:<{width}}  {what}" for words, what in steps),
    ])  # fmt: skip


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigError(
            "there are no secrets yet: start the stack first, with `docker compose up -d --wait`"
        ) from None


def main(argv: list[str]) -> int:
    """Run the job in `argv`. Exit code 0, 1 when it failed, 2 for a wrong configuration."""
    try:
        config = load(config_file())
        match argv:
            case ["setup"]:
                made = setup(VOLUMES, GIVEN, os.environ, config)
                what = "passwords, keys and certificates"
                print(f"{what}: {f'{len(made)} made or renewed' if made else 'all there'}", file=sys.stderr)
            case ["provision"]:
                provide(config, Part, WAIT_SECONDS, partial(print, file=sys.stderr, flush=True))
                print(NEXT, file=sys.stderr)
            case ["welcome"]:
                print(welcome(SECRETS, os.environ, config))
            case _:
                raise ConfigError("usage: python -m headrace.stack.compose setup|provision|welcome")
    except HeadraceError as e:
        print(e, file=sys.stderr)
        return 2 if isinstance(e, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
