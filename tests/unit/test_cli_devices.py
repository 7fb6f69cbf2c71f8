"""`headrace devices`, with a hub that is served and an agent beside it."""

import csv
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import orjson
import pytest
import yaml
from sqlalchemy import text

from headrace.hub.client import device_path
from headrace.identity import ca
from headrace.identity.ca import Authority, Pair
from headrace.stack.state import plain
from hub.access import hashed
from tests.command import Run, run
from tests.hubworld import Served, add, lite, served

Devices = Callable[..., Run]
AUTHORITY = Authority.make("devices")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    """Hub, and an agent that reports each version as soon as it has it."""
    (tmp_path / "db").mkdir()
    ended = threading.Event()

    def agent() -> None:
        version = -1
        while not ended.is_set():
            told = it.broker.get("/api/broker", {"after": version, "wait": 0.2})
            if told is not None:
                version = told["version"]
                it.broker.post("/api/broker/applied", {"version": version})

    with served(lite(tmp_path / "db"), AUTHORITY) as it:
        thread = threading.Thread(target=agent)
        thread.start()
        yield it
        ended.set()
        thread.join()


@pytest.fixture
def devices(hub: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Devices:
    file = tmp_path / "c.yaml"
    streams = {"environment": {"routes": ["sensors/{device_id}/environment"]}}
    (tmp_path / "broker-ca.pem").write_text("the broker's authority")
    mqtt = {
        "devices": {
            "host": "inner.test", "port": 1883, "public": "broker.test:1884", "certificates": "broker.test:8884",
            "psk": "broker.test:8885", "ca_file": str(tmp_path / "broker-ca.pem"),
        }
    }  # fmt: skip
    file.write_text(yaml.safe_dump({"hub": plain(hub.settings), "streams": streams, "mqtt": mqtt}))

    return partial(run, monkeypatch, capfd, "--config", str(file), "devices")


def test_adding_a_device_prints_the_command_that_publishes_as_it(devices: Devices, hub: Served) -> None:
    done = devices("add", "board-01", "--model", "m 1", "--tag", "a", "--tag", "b", "--gateway")
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:8] == ["mosquitto_pub", "-h", "broker.test", "-p", "1884", "-u", "board-01", "-P"]
    assert len(words[8]) == 24
    assert "-t sensors/board-01/environment -m" in done.stdout
    assert "can't be shown again" in done.stderr
    assert "does not know it yet" not in done.stderr
    found = hub.admin.get(device_path("board-01"))
    assert (found["kind"], found["model"], found["tags"]) == ("gateway", "m 1", ["a", "b"])
    again = devices("add", "board-01")
    assert (again.returncode, again.stdout) == (1, "")
    assert "rotate" in again.stderr


def test_a_device_is_shown_renewed_and_shut_out(devices: Devices, hub: Served) -> None:
    first = orjson.loads(devices("add", "b", "--json").stdout)
    assert first["in_force"] is True
    second = orjson.loads(devices("rotate", "b", "--json").stdout)
    assert second["password"] != first["password"]
    assert orjson.loads(devices("show", "b").stdout)["state"] == "active"
    asked = devices("revoke", "b")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert devices("revoke", "b", "--yes").returncode == 0
    assert hub.broker.get("/api/broker")["passwords"] == {}
    assert devices("show", "nobody").returncode == 1


def test_a_device_that_a_rule_has_shut_out_is_listed_with_the_rule_and_let_in_again(
    devices: Devices, hub: Served
) -> None:
    add(hub.admin, "b")
    hub.broker.post("/api/broker/behaviour", {"facts": [{"rule": "messages", "who": "b", "value": 10**6}]})
    assert "quarantined (messages)" in devices("list").stdout
    assert orjson.loads(devices("show", "b").stdout)["quarantine"]["value"] == 10**6
    assert devices("activate", "b").returncode == 0
    assert "active" in devices("list").stdout


def test_devices_are_listed_as_a_table_and_as_json(devices: Devices, hub: Served) -> None:
    assert "no devices yet" in devices("list").stderr
    for n in range(3):
        add(hub.admin, f"b{n}", model="m", serial=f"S{n}", tags=["t"])
    table = devices("list", "--limit", "2")
    assert [line.split() for line in table.stdout.splitlines()] == [
        ["id", "kind", "state", "last", "seen", "serial", "model", "tags"],
        ["b0", "device", "active", "never", "S0", "m", "t"],
        ["b1", "device", "active", "never", "S1", "m", "t"],
    ]
    assert "the first 2 of 3" in table.stderr
    assert [d["id"] for d in orjson.loads(devices("list", "--json", "b2").stdout)["devices"]] == ["b2"]


def test_a_fleet_is_imported_and_its_passwords_are_in_a_file_for_this_user_alone(
    devices: Devices, hub: Served, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text('\ufeffid, kind,tags,room\na1,,x y,\n\na2,gateway,,"7, left"\n', encoding="utf-8")
    done = devices("import", str(file))
    assert done.returncode == 0, done.stderr
    secret = tmp_path / "fleet.passwords.csv"
    assert secret.stat().st_mode & 0o777 == 0o600
    rows = list(csv.reader(secret.read_text().splitlines()))
    assert [r[0] for r in rows] == ["id", "a1", "a2"]
    assert set(hub.broker.get("/api/broker")["passwords"]) == {"a1", "a2"}
    assert hub.admin.get(device_path("a1"))["tags"] == ["x", "y"]
    found = hub.admin.get(device_path("a2"))
    assert (found["kind"], found["attributes"]) == ("gateway", {"room": "7, left"})
    before = secret.read_text()
    assert "exists, and may hold passwords" in devices("import", str(file)).stderr
    assert secret.read_text() == before


def test_a_wrong_line_is_named_and_nothing_is_imported(devices: Devices, hub: Served, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text('id,note\na1,"two\nlines"\nb/2,\na1,\n')
    done = devices("import", str(file))
    assert done.returncode == 1
    assert f"{file}, line 4: id: 'b/2' can't name a device" in done.stderr
    assert f"{file}, line 5: a1 is given twice" in done.stderr
    assert not (tmp_path / "fleet.passwords.csv").exists()
    assert hub.admin.get("/api/devices")["devices"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\na\n", "line 1: name each column once, one of them id"),
        ("id,x,x\na,1,2\n", "line 1: name each column once"),
        ("id,x\na\n", "line 2: 1 values for 2 columns"),
        ("id\n\n", "no devices"),
        ("", "name each column once"),
    ],
)
def test_a_file_that_is_no_list_of_devices_is_refused(devices: Devices, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text(text)
    done = devices("import", str(file))
    assert done.returncode == 2
    assert words in done.stderr


def test_the_audit_log_is_shown_and_a_changed_row_is_told(
    hub: Served, tmp_path: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert devices("add", "b").returncode == 0
    add(hub.admin, "c")

    audit = partial(run, monkeypatch, capfd, "--config", str(tmp_path / "c.yaml"), "audit")
    assert [line.split()[3:6] for line in audit("list").stdout.splitlines()] == [
        ["admin", "add", "b"],
        ["admin", "add", "c"],
    ]
    assert audit("list", "-n", "1").stdout.split()[5] == "c"
    assert audit("verify") == (0, "", "2 rows: each follows from the one before\n")
    with hub.database.write() as connection:
        connection.execute(text("UPDATE audit SET target = 'x' WHERE number = 1"))
    found = audit("verify")
    assert (found.returncode, found.stdout) == (1, "row 1 was changed: admin add x: its hash is that of other words\n")


def test_a_token_is_printed_alone_and_lets_the_device_enrol_once(devices: Devices, hub: Served) -> None:
    first = devices("add", "b", "--token", "--pending", "--serial", "S1")
    assert (first.returncode, first.stdout[:3], len(first.stdout.split())) == (0, "he_", 1)
    assert "within 30d, at http" in first.stderr  # where the device asks: free ports are no well-known ones
    found = hub.admin.get(device_path("b"))
    assert (found["state"], found["credentials"], found["enrolment"]["by"]) == ("pending", [], "token")
    token = orjson.loads(devices("enrol-token", "b", "--expires", "12h", "--serial", "S2", "--json").stdout)["token"]
    assert token != first.stdout.strip()
    found = hub.admin.get(device_path("b"))
    ends, made = (datetime.fromisoformat(found["enrolment"][name]) for name in ("ends", "made"))
    assert (found["serial"], ends - made) == ("S2", timedelta(hours=12))
    assert "such as 30d" in devices("enrol-token", "b", "--expires", "soon").stderr
    assert devices("enrol-token", "nobody").returncode == 1


def test_pending_devices_are_approved_or_rejected(devices: Devices, hub: Served) -> None:
    for device in "abc":
        done = devices("add", device, "--token", "--pending")
        assert done.returncode == 0, done.stderr
    for done in (devices("approve", "a", "b"), devices("reject", "c")):
        assert done.returncode == 0, done.stderr
    assert [hub.admin.get(device_path(d))["state"] for d in "abc"] == ["active", "active", "revoked"]
    again = devices("approve", "a")
    assert (again.returncode, "does not wait for approval" in again.stderr) == (1, True)


def test_a_fleet_gets_tokens_or_nothing(devices: Devices, hub: Served, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.csv"
    fleet.write_text("id,serial\na,1\nb,2\n")
    assert devices("import", str(fleet), "--credential", "token", "--pending").returncode == 0
    rows = list(csv.DictReader((tmp_path / "fleet.tokens.csv").read_text().splitlines()))
    assert [(r["id"], r["token"][:3]) for r in rows] == [("a", "he_"), ("b", "he_")]
    assert hub.admin.get(device_path("a"))["state"] == "pending"
    fleet.write_text("id,serial,groups\nc,3,lot-7\n")
    assert devices("import", str(fleet), "--credential", "none").returncode == 0
    assert not list(tmp_path.glob("fleet.none*"))


def test_a_claim_is_made_here_and_hub_has_its_certificate_alone(devices: Devices, hub: Served, tmp_path: Path) -> None:
    out = tmp_path / "claim"
    done = devices("claims", "add", "lot/7", "--out", str(out), "--days", "2", "--at-once")
    assert done.returncode == 0, done.stderr
    assert (out / "claim.key").stat().st_mode & 0o777 == 0o600
    (kept,) = hub.admin.get("/api/claims")["claims"]
    assert (kept["name"], kept["at_once"], kept["certificate"]) == ("lot/7", True, (out / "claim.pem").read_text())
    assert "lot/7" in devices("claims", "list").stdout
    assert devices("claims", "revoke", "lot/7").returncode == 0
    assert hub.admin.get("/api/claims")["claims"][0]["revoked"] is not None
    assert devices("claims", "add", "lot/8", "--out", str(out)).returncode == 2


def test_a_qr_code_says_where_hub_is_and_what_the_token_is(devices: Devices, hub: Served, tmp_path: Path) -> None:
    if shutil.which("zbarimg") is None:
        pytest.skip("zbarimg is not there: apt install zbar-tools")
    devices("add", "b", "--token")
    picture = tmp_path / "b.png"
    assert devices("qr", "b", "--out", str(picture), "--url", "https://hub.example.org/").returncode == 0
    assert picture.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(["zbarimg", "-q", "--raw", picture], capture_output=True, text=True, check=True)
    url, _, fragment = done.stdout.strip().partition("#")
    said = {name: values[0] for name, values in parse_qs(fragment).items()}
    assert (url, said["id"]) == ("https://hub.example.org/api/enroll", "b")
    with hub.database.read() as connection:
        assert connection.execute(text("SELECT hash FROM enrolments")).scalar() == hashed(said["token"])
    assert devices("qr", "b", "--out", str(picture)).returncode == 2, "a file that is there is not overwritten"
    assert devices("qr", "nobody", "--out", str(tmp_path / "n.png")).returncode == 1
    assert not (tmp_path / "n.png").exists()


def test_a_device_with_a_certificate_gets_its_files_and_the_key_is_made_here(
    devices: Devices, hub: Served, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "certs"
    done = devices("add", "board-01", "--certificate", str(folder))
    assert (done.returncode, "stays good beside it" in done.stderr) == (0, False), done.stderr
    files = {name: folder / name for name in ("board-01.key", "board-01.pem", "ca.pem")}
    assert done.stdout.startswith(
        f"mosquitto_pub -h broker.test -p 8884 --cafile {files['ca.pem']} --cert {files['board-01.pem']} "
        f"--key {files['board-01.key']} -q 1 -t sensors/board-01/environment -m "
    )
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(files, 0o600)
    pair = Pair(files["board-01.pem"].read_text(), files["board-01.key"].read_text())
    assert ca.problems(pair, AUTHORITY.pair.cert, "it") == []
    assert files["ca.pem"].read_text() == "the broker's authority"
    assert hub.broker.get("/api/broker")["passwords"] == {}
    assert "is there already" in devices("add", "board-01", "--certificate", str(folder)).stderr
    renewed = orjson.loads(devices("rotate", "board-01", "--certificate", str(folder), "--json").stdout)
    assert renewed["serial"] == f"{ca.facts(files['board-01.pem'].read_text(), 'it').serial:x}"
    held = hub.admin.get(device_path("board-01"))["credentials"]
    assert [c["revoked"] for c in held] == [None, None]
    assert devices("revoke", "board-01", "--credential", str(held[0]["number"]), "--yes").returncode == 0
    assert list(hub.broker.get("/api/broker")["certificates"]["owners"]) == [held[0]["serial"]]


def test_a_device_with_a_key_is_told_its_command(devices: Devices, hub: Served) -> None:
    made = orjson.loads(devices("add", "b", "--psk", "--json").stdout)
    assert made["command"].startswith(f"mosquitto_pub -h broker.test -p 8885 --psk-identity b --psk {made['psk']} -q 1")
    new = devices("rotate", "b", "--psk")
    assert "can't be shown again" in new.stderr
    assert hub.broker.get("/api/broker")["psks"]["b"] in new.stdout
    assert made["psk"] not in new.stdout


def test_what_contradicts_itself_or_has_no_listener_is_refused_before_anything_is_added(
    devices: Devices, hub: Served, tmp_path: Path
) -> None:
    for options in (["--psk", "--certificate", "x"], ["--psk", "--token"], ["--certificate", "x", "--pending"]):
        assert devices("add", "b", *options).returncode == 2
    (tmp_path / "b.key").write_text("precious")
    assert devices("add", "b", "--certificate", str(tmp_path)).returncode == 2
    assert (tmp_path / "b.key").read_text() == "precious"
    text = (tmp_path / "c.yaml").read_text()
    (tmp_path / "c.yaml").write_text(text.replace("certificates: broker.test:8884", "certificates: ''"))
    done = devices("add", "b", "--certificate", str(tmp_path / "new"))
    assert (done.returncode, "mqtt.devices.certificates: none is given" in done.stderr) == (2, True)
    assert hub.admin.get("/api/devices")["count"] == 0
