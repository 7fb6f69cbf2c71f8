import base64
import hashlib
import tomllib
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.operate.mqttusers import password_line
from headrace.operate.provision import topic_specs
from headrace.stack import extras, kafka, mosquitto, plan, show, store
from headrace.stack.plan import Listen, StackPlan
from headrace.stack.state import State


@pytest.fixture
def made(tmp_path: Path) -> StackPlan:
    numbers = {name: 20_000 + n for n, name in enumerate([*plan.DEFAULT_PORTS, *plan.INNER_PORTS])}
    secrets = {**{f"sign{n}": f"key{n}" for n in range(4)}, "s3_access": "A", "s3_secret": "S", "sse": "E"}
    secrets |= {"mqtt": "pw", "device": "dpw", "kafka": "kpw", "kafka_broker": "bpw", "registry": "rpw", "metrics": "m"}
    return StackPlan(State(tmp_path), numbers, secrets, Config(), None, None)


def listeners(made: StackPlan, listen: Listen | None) -> list[str]:
    text = mosquitto.configuration(StackPlan(**{**vars(made), "listen": listen}))
    return [line for line in text.splitlines() if line.startswith(("listener", "certfile", "keyfile"))]


def test_the_broker_listens_on_loopback_alone_unless_told(made: StackPlan) -> None:
    inner, port = (f"listener {made.ports[name]} 127.0.0.1" for name in ("mqtt.services", "mqtt"))
    certified, keyed = (f"listener {made.ports[f'mqtt.{name}']}" for name in ("certificates", "psk"))
    ours = [f"{kind}file {made.state.certs / 'mqtt'}.{end}" for kind, end in (("cert", "pem"), ("key", "key"))]
    loopback = [f"{certified} 127.0.0.1", *ours, f"{keyed} 127.0.0.1"]
    web = f"listener {made.ports['mqtt.websockets']}"
    assert listeners(made, None) == [inner, port, f"{web} 127.0.0.1", *loopback]
    theirs = ["certfile /c", "keyfile /k"]
    for address, inside in (("0.0.0.0", []), ("10.1.2.3", loopback), ("::", loopback)):
        outside = [f"{certified} {address}", *theirs, f"{keyed} {address}"]
        tls = listeners(made, Listen(address, 8883, Path("/c"), Path("/k")))
        shown = [*([f"{web} 127.0.0.1"] if inside else []), f"{web} {address}", *theirs]
        assert tls == [inner, port, f"listener 8883 {address}", *theirs, *shown, *inside, *outside]


def test_a_broker_without_websockets_is_not_asked_for_them(made: StackPlan) -> None:
    assert "websockets" in mosquitto.configuration(made)
    assert "websockets" not in mosquitto.configuration(made, websockets=False)


def test_devices_have_users_rights_and_limits_of_their_own_at_each_of_their_listeners(made: StackPlan) -> None:
    text = mosquitto.configuration(StackPlan(**{**vars(made), "listen": Listen("::", 8883, Path("/c"), Path("/k"))}))
    services, *devices = text.partition("\nlistener ")[2].split("\nlistener ")
    assert "services.passwords" in services
    assert "services.acl" in services
    assert "use_username_as_clientid" not in services, "else all services would take one session from each other"
    assert len(devices) == 8
    ways = [[way for way in ("devices.passwords", "devices.crl", "devices.psks") if way in one] for one in devices]
    assert ways == [
        [w]
        for w in (
            "devices.passwords",
            "devices.passwords",
            *("devices.passwords",) * 2,
            *("devices.crl", "devices.psks") * 2,
        )
    ]
    for one in devices:
        assert "devices.acl" in one
        if "devices.crl" in one:
            assert "require_certificate true" in one
            assert f"cafile {made.state.certs}/devices/ca.pem" in one, "who has a server's certificate is no device"
        assert ("use_identity_as_username true" in one) == ("password_file" not in one)
        assert "services" not in one
        assert "use_username_as_clientid true" in one
        assert "max_connections 10000" in one
    assert text.count("allow_anonymous false") == 5
    assert "allow_anonymous true" not in text


def test_the_broker_takes_what_the_bridge_takes_and_no_more(made: StackPlan) -> None:
    config = Config.model_validate({"bridge": {"max_payload_bytes": 1000}})
    assert "\nmax_packet_size 66536\n" in mosquitto.configuration(StackPlan(**{**vars(made), "config": config}))


def test_a_password_line_holds_a_salted_hash() -> None:
    user, _, rest = password_line("u", "secret").strip().partition(":")
    _, kind, rounds, salt, digest = rest.split("$")
    expected = hashlib.pbkdf2_hmac("sha512", b"secret", base64.b64decode(salt), int(rounds))
    assert (user, kind, base64.b64decode(digest)) == ("u", "7", expected)
    assert password_line("u", "secret") != password_line("u", "secret")


def test_kafka_listens_on_loopback_alone(made: StackPlan) -> None:
    lines = dict(line.split("=", 1) for line in kafka.properties(made).splitlines())
    for listener in lines["listeners"].split(","):
        assert "://127.0.0.1:" in listener
    assert lines["unclean.leader.election.enable"] == "false"


def test_kafka_asks_for_a_password_on_every_listener(made: StackPlan) -> None:
    lines = dict(line.split("=", 1) for line in kafka.properties(made).splitlines())
    names = [listener.partition("://")[0] for listener in lines["listeners"].split(",")]
    assert lines["listener.security.protocol.map"] == ",".join(f"{name}:SASL_PLAINTEXT" for name in names)
    asked = {name: lines[f"listener.name.{name.lower()}.plain.sasl.jaas.config"] for name in names}
    assert 'user_headrace="kpw"' in asked["CLIENT"]
    assert "headrace" not in asked["CONTROLLER"], "a service has nothing to do there"
    assert all('user_broker="bpw"' in words for words in asked.values())


def test_seaweedfs_is_told_every_port_and_closed_with_four_keys(made: StackPlan, tmp_path: Path) -> None:
    argv = store.spec(made, tmp_path / "weed").argv()
    given = {a.partition("=")[0]: a.partition("=")[2] for a in argv}
    for flag, name in store.PORTS.items():
        assert given[f"-{flag}"] == str(made.ports[name])
    assert given["-ip.bind"] == "127.0.0.1"
    assert given["-master.telemetry"] == "false"
    told = tomllib.loads(store.security(made.secrets, tmp_path))
    assert [told["jwt"][k]["key"] for k in ("signing", "filer_signing")] == ["key0", "key2"]
    assert [told["jwt"][k]["read"]["key"] for k in ("signing", "filer_signing")] == ["key1", "key3"]
    pair = {"cert": f"{tmp_path}/store.pem", "key": f"{tmp_path}/store.key"}
    for part in ("master", "volume", "filer", "s3", "admin", "worker", "client"):
        assert told["grpc"][part] == pair
    for part in ("master", "filer", "admin"):
        assert told["https"][part] == {**pair, "ca": f"{tmp_path}/ca.pem"}


def test_what_fits_a_raw_topic_fits_the_next_ones() -> None:
    config = Config.model_validate({"streams": {"imu": {"partitions": 5}}})
    specs = {s.name: s for s in topic_specs(config)}
    raw, clean, letters = specs["imu.raw"], specs["imu.clean"], specs["dead-letters"]
    assert config.max_message_bytes == raw.max_message_bytes < clean.max_message_bytes < letters.max_message_bytes
    assert raw.partitions == clean.partitions == 5
    assert raw.log_append_time
    assert letters.cleanup_policy == "compact,delete"


def test_pins_are_read_from_a_lock() -> None:
    lock = "# by uv\naiomqtt==2.5.1 \\\n    --hash=sha256:00\n    # via headrace\nrich==15.0 ; x == 'y' \\\n"
    assert extras.pins(lock) == ["aiomqtt==2.5.1", "rich==15.0 ; x == 'y'"]


def test_missing_packages_are_those_of_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    required = [
        "pydantic>=2",
        'minio<8,>=7 ; extra == "bridge"',
        'no-such-thing==1 ; extra == "stack"',
        "other-thing>=2",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: required)
    assert extras.missing() == ["no-such-thing==1"]


def test_a_board_on_the_network_is_told_where_to_connect_and_whom_to_trust() -> None:
    info = {"listen": "10.0.0.5:8883", "listen_ca": "/state/certs/ca.pem"}
    assert "TLS to host 10.0.0.5, port 8883, trusting /state/certs/ca.pem" in show.network(info)


def test_the_reading_to_try_goes_where_the_configuration_takes_it() -> None:
    def words(streams: dict[str, list[str]]) -> list[str]:
        return show.reading(Config.model_validate({"streams": {n: {"routes": r} for n, r in streams.items()}}))

    pump = {"pump": ["plant/{device_id}/pump"]}
    assert words(pump) == ["-t", "plant/board-01/pump", "-f", "sample.json"]
    assert words({**pump, "environment": ["air/{device_id}"]})[:3] == ["-t", "air/board-01", "-m"]
    assert words({"copied": []})[:2] == ["-t", "TOPIC"]
