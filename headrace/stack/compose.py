"""The jobs of docker-compose.yml: secrets before anything starts, what the services expect, and what to do next.

    python -m headrace.stack.compose setup | provision | welcome

`setup` makes each password and key once, keeps all of them in a volume of its own, and writes to the volume of each
server what that one reads, readable by its user alone. What is given in the environment or as a file counts first.
"""

import json
import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from headrace.config import Config, load
from headrace.config.find import config_file
from headrace.errors import ConfigError, HeadraceError
from headrace.stack import mosquitto, store
from headrace.stack.plan import DEVICE_USER, HOST, USER, Plan
from headrace.stack.show import reading
from headrace.stack.state import State
from headrace.tools.provide import Part, provide

VOLUMES, GIVEN, SECRETS = Path("/volumes"), Path("/given"), Path("/run/secrets")
# Who reads each volume: the users of the images.
HEADRACE_GID, MOSQUITTO, SEAWEEDFS, GRAFANA, REGISTRY = 10001, 1883, 1000, 472, 1001
HEALTH_USER = "health"  # may read how long the broker is up, and nothing else
GIVEN_NAMES = ("mqtt_password", "device_password", "s3_access_key", "s3_secret_key", "grafana_password")
PATIENCE = 60.0  # seconds for servers that have only just become healthy
NEXT = "bridge, clean and archive start now. What is where, and what to do next: docker compose run --rm welcome"
ALIAS = """alias headrace='docker compose run --rm --user "$(id -u):10001" headrace'"""


class Reader(NamedTuple):
    """Who owns the files of a volume, and may read them."""

    uid: int
    gid: int


def setup(volumes: Path, given: Path, environ: Mapping[str, str], config: Config) -> list[str]:
    """Write every secret to the volumes below `volumes`, and return the names of those that were made now.

    ConfigError for a value that can't be one. Running it again changes nothing, unless other values are given.
    """
    kept = _kept(volumes / "keys" / "secrets.json")
    chosen = {name: value for name in GIVEN_NAMES if (value := _given(name, given, environ))}
    made = {name: value for name, value in _random().items() if name not in kept and name not in chosen}
    all_ = {**made, **kept, **chosen}
    _write(volumes / "keys", {"secrets.json": json.dumps(all_, indent=1) + "\n"}, Reader(0, 0))
    _write(volumes / "secrets", {name: all_[name] + "\n" for name in GIVEN_NAMES}, Reader(0, HEADRACE_GID))
    _write(volumes / "mosquitto", _mosquitto(all_, config), Reader(MOSQUITTO, MOSQUITTO))
    _write(volumes / "store", _store(all_), Reader(SEAWEEDFS, SEAWEEDFS))
    _write(volumes / "grafana", {"admin_password": all_["grafana_password"]}, Reader(GRAFANA, 0))
    data = volumes / "registry"  # the image has no folder whose owner Docker could take for the volume's
    if data.stat().st_uid != REGISTRY:
        data.chmod(0o700)
        os.chown(data, REGISTRY, 0)
    return sorted(made)


def _random() -> dict[str, str]:
    return {
        "mqtt_password": secrets.token_urlsafe(18),
        "device_password": secrets.token_urlsafe(9),  # a person types it into a board's firmware
        "health_password": secrets.token_urlsafe(18),
        "s3_access_key": "HR" + secrets.token_hex(8).upper(),
        "s3_secret_key": secrets.token_urlsafe(30),
        "grafana_password": secrets.token_urlsafe(12),
        "sse": secrets.token_hex(32),
        **{f"sign{n}": secrets.token_urlsafe(32) for n in range(4)},
    }


def _kept(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _given(name: str, folder: Path, environ: Mapping[str, str]) -> str:
    """What the person gave: in .env, else as a file; empty where neither."""
    where, value = f"{name.upper()} in .env", environ.get(name.upper(), "")
    if not value and (folder / name).is_file():
        where, value = f"the secret {name}", (folder / name).read_text(encoding="utf-8").removesuffix("\n")
        if not value:
            raise ConfigError(f"{where} is empty: give a value, or remove the file")
    if any(ord(c) < 0x20 for c in value) or value != value.strip():
        raise ConfigError(f"{where}: no line breaks or spaces around it, please")
    return value


def _mosquitto(secret: dict[str, str], config: Config) -> dict[str, str]:
    users = ((USER, "mqtt_password"), (DEVICE_USER, "device_password"), (HEALTH_USER, "health_password"))
    return {
        "passwords": "".join(mosquitto.password_line(user, secret[name]) for user, name in users),
        "acl": f"{mosquitto.access(config.bridge.receipts)}\nuser {HEALTH_USER}\ntopic read $SYS/broker/uptime\n",
        # Options that mosquitto_sub reads by itself, so that the health check's password is in no command line.
        "mosquitto_sub": f"-h {HOST}\n-u {HEALTH_USER}\n-P {secret['health_password']}\n",
    }


def _store(secret: dict[str, str]) -> dict[str, str]:
    plan = Plan(State(SECRETS), {}, secret, Config(), None, None)
    keys = {"accessKey": secret["s3_access_key"], "secretKey": secret["s3_secret_key"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {
        "security.toml": f'{store.security(plan)}[s3.sse]\nkey = "{secret["sse"]}"\n',
        "s3.json": json.dumps({"identities": [{"name": USER, "credentials": [keys], "actions": actions}]}) + "\n",
    }


def _write(folder: Path, files: dict[str, str], reader: Reader) -> None:
    """Replace the files of a volume, each as a whole: mode 0440, in a folder that only their readers enter."""
    folder.chmod(0o750)
    os.chown(folder, 0, reader.gid)
    for name, text in files.items():
        fresh = folder / f".{name}"
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440), "w", encoding="utf-8") as out:
            out.write(text)
        os.chown(fresh, reader.uid, reader.gid)
        fresh.replace(folder / name)


def welcome(folder: Path, environ: Mapping[str, str], config: Config) -> str:
    """Addresses, the device's password, a reading of one's own and what to do next."""
    password = _read(folder / "device_password")
    port = {name: environ[f"{name.upper()}_PORT"] for name in ("mqtt", "kafka", "registry", "s3", "grafana")}
    stream = next(iter(config.streams))
    send = ["-u", DEVICE_USER, "-P", password, "-q", "1", *reading(config)]
    steps = [
        ("headrace simulate --duration 30", "a fleet of devices, for half a minute"),
        (f"headrace tail {stream}", "its readings as they come"),
        (f"headrace query 'select count(*) from {stream}'", "the lake, a few seconds later"),  # noqa: S608 - shown
        ("headrace verify --wait 60", "whether anything is lost or double"),
        ("docker compose ps", "how everything is; `docker compose logs SERVICE` for more"),
        ("docker compose down", "stops it; the data stays, unless with --volumes"),
    ]
    width = max(len(words) for words, _ in steps)
    keys = f"docker compose run --rm --entrypoint cat headrace {SECRETS}/s3_access_key {SECRETS}/s3_secret_key"
    login = f"user admin, password {_read(folder / 'grafana_password')}"
    return "\n".join([
        f"  MQTT      {environ['MQTT_ADDRESS']}:{port['mqtt']}   (user {DEVICE_USER}, password {password})",
        f"  Kafka     {HOST}:{port['kafka']}",
        f"  registry  http://{HOST}:{port['registry']}",
        f"  S3        http://{HOST}:{port['s3']}   (keys: {keys})",
        f"  Grafana   http://{HOST}:{port['grafana']}   (with --profile observability; {login})",
        "",
        "Next, in the folder of docker-compose.yml:",
        f"  {ALIAS}",
        *(f"  {words:<{width}}  {what}" for words, what in steps),
        "",
        "A reading of your own:",
        f"  {shlex.join(['mosquitto_pub', '-h', HOST, '-p', port['mqtt'], *send])}",
        "  (where this machine has no mosquitto_pub:",
        f"   {shlex.join(['docker', 'compose', 'exec', 'mosquitto', 'mosquitto_pub', *send])})",
    ])  # fmt: skip


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigError(
            "there are no secrets yet: start the stack first, with `docker compose up -d --wait`"
        ) from None


def main(argv: list[str]) -> int:
    """Run the job that `argv` names. Exit codes as everywhere: 0, 1 when it failed, 2 for a wrong configuration."""
    try:
        config = load(config_file())
        match argv:
            case ["setup"]:
                made = setup(VOLUMES, GIVEN, os.environ, config)
                print(f"passwords and keys: {f'{len(made)} made' if made else 'all there'}", file=sys.stderr)
            case ["provision"]:
                provide(config, Part, PATIENCE, partial(print, file=sys.stderr, flush=True))
                print(NEXT, file=sys.stderr)
            case ["welcome"]:
                print(welcome(SECRETS, os.environ, config))
            case _:
                raise ConfigError("setup, provision or welcome")
    except HeadraceError as e:
        print(e, file=sys.stderr)
        return 2 if isinstance(e, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
