import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.config import Config, load
from headrace.errors import ConfigError
from headrace.identity import ca
from headrace.stack import certs, plan, ports
from headrace.stack.plan import Wishes
from headrace.stack.process import MARK
from headrace.stack.state import State, plain


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def make(state: State, **wishes: object) -> plan.StackPlan:
    """A plan on free ports, whatever runs on the defaults."""
    return plan.make(state, Wishes(auto_ports=True, **wishes))  # type: ignore[arg-type]


def test_a_plan_is_what_is_read_back(state: State) -> None:
    made = make(state)
    again = plan.load_made(state)
    assert (again.ports, again.secrets, again.config) == (made.ports, made.secrets, made.config)
    assert state.config() == made.config
    theirs = {"imu", "environment", "vibration", "imu_files", "uploads"}
    assert set(made.config.streams) == {*theirs, "device_events", "device_audit"}
    assert made.config.mqtt.port == made.ports["mqtt.services"]
    assert made.config.mqtt.as_device("w", "p").port == made.ports["mqtt"]


def test_ports_and_secrets_stay_from_start_to_start(state: State) -> None:
    first, second = make(state), plan.make(state, Wishes())
    assert second.ports == first.ports
    assert second.secrets == first.secrets


def test_two_states_share_no_port_and_no_secret(tmp_path: Path) -> None:
    random.seed(1)  # ports that nobody holds yet are drawn at random: in one of a hundred runs two were the same
    one, two = make(State(tmp_path / "one")), make(State(tmp_path / "two"))
    inner = set(plan.INNER_PORTS)
    assert not {one.ports[n] for n in inner} & {two.ports[n] for n in inner}
    assert not set(one.secrets.values()) & set(two.secrets.values())


def test_nobody_can_guess_the_client_id_of_a_stacks_bridge(tmp_path: Path) -> None:
    one, two = (make(State(tmp_path / name)).config.bridge.client_id for name in ("one", "two"))
    assert one != two
    assert one.startswith("headrace-bridge-")
    assert len(one) >= 40


def test_the_session_of_a_stacks_bridge_does_not_end(state: State) -> None:
    """Mosquitto 2.0.11 crashes over sessions that can: docs/broker.md says when."""
    assert make(state).config.bridge.session_expiry_seconds == 4_294_967_295


def test_all_ports_differ_and_leave_room_for_derived_ones(state: State) -> None:
    numbers = list(make(state).ports.values())
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < 55_535


def test_secrets_are_for_this_user_alone(state: State) -> None:
    make(state)
    assert state.path.stat().st_mode & 0o777 == 0o700
    for name in ("headrace.yaml", "secrets/secrets.json", "settings.json"):
        assert (state.path / name).stat().st_mode & 0o777 == 0o600


def test_a_port_in_use_names_holder_and_way_out(state: State) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"{port} \(kafka\) is in use by .*pid.*--auto-ports"):
            plan.make(state, Wishes(ports={"kafka": port}, auto_ports=True))
    assert not state.exists


def test_a_holder_is_found_behind_a_descriptor_that_is_closed_meanwhile() -> None:
    lowest = Path(os.devnull).open("rb")  # noqa: SIM115 - closed below, so that its number is free for the list itself
    with socket.create_server(("127.0.0.1", 0)) as server:
        lowest.close()
        assert f"pid {os.getpid()}" in ports.holder(server.getsockname()[1])


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux only")
def test_ports_held_by_another_stack_name_that_stack(state: State) -> None:
    words = r"another Headrace stack runs, in /other/stack.*--state /other/stack down"
    serve = "import socket as s; it = s.create_server(('127.0.0.1', 0)); print(it.getsockname()[1], flush=True); "
    with subprocess.Popen(
        [sys.executable, "-c", serve + "input()"],
        env={MARK: "/other/stack"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        with pytest.raises(ConfigError, match=words):
            plan.make(state, Wishes(ports={"hub": port}, auto_ports=True))
        other.communicate(b"\n")
    assert not state.exists


def test_the_connections_of_ones_own_file_are_left_aside_whole(state: State, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("of my own servers\n")
    file = tmp_path / "my.yaml"
    file.write_text(
        "streams: {pump: {contract: imu, routes: ['pump/{device_id}']}}\n"
        f"kafka: {{bootstrap: 'k:1', tls: {{enabled: true}}, sasl: {{mechanism: SCRAM-SHA-512, username: me, "
        f"password_file: {tmp_path / 'password'}}}}}\n"
        f"registry: {{url: 'https://r', username: me, password_file: {tmp_path / 'password'}}}\n"
    )
    config = make(state, config=file).config
    assert config.kafka.sasl is not None
    assert (config.kafka.sasl.mechanism, config.kafka.tls.enabled) == ("PLAIN", False)
    assert config.registry.password is not None
    assert config.registry.password.get_secret_value() == state.secret("registry")


def test_make_is_told_how_make_takes_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    assert "make up ARGS=--auto-ports" in ports.remedy("kafka", "java (pid 5)")


def test_auto_ports_goes_round_a_port_in_use(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setitem(plan.DEFAULT_PORTS, "s3", port)
        made = make(state)
    assert made.ports["s3"] != port
    assert any(str(port) in note for note in made.notes)


def test_a_port_is_given_once(state: State) -> None:
    with pytest.raises(ConfigError, match="twice"):
        plan.make(state, Wishes(ports={"kafka": (port := ports.free(set())), "s3": port}))
    with pytest.raises(ConfigError, match="not one of"):
        plan.make(state, Wishes(ports={"kafak": 1}))


def test_own_streams_keep_their_settings_and_get_the_stacks_connections(state: State, tmp_path: Path) -> None:
    own = tmp_path / "my.yaml"
    own.write_text(
        "streams: {pump: {contract: imu, routes: ['plant/{device_id}/pump'], partitions: 2}}\n"
        "archive: {idle_seconds: 3}\nkafka: {bootstrap: 'elsewhere:1'}\n"
    )
    made = make(state, config=own)
    assert list(made.config.streams) == ["pump", "device_events", "device_audit"]
    assert made.config.archive.idle_seconds == 3
    assert made.config.archive.http.port == made.ports["archive.http"]
    assert made.config.kafka.bootstrap == f"127.0.0.1:{made.ports['kafka']}"
    assert [note for note in made.notes if "kafka not used" in note]
    assert list(plan.make(state, Wishes()).config.streams) == ["pump", "device_events", "device_audit"]


@pytest.mark.parametrize("text", ["strems: {imu: {}}\n", "archive: {idle_seconds: -1}\nstreams: {imu: {}}\n"])
def test_a_configuration_that_does_not_hold_changes_nothing(state: State, tmp_path: Path, text: str) -> None:
    own = tmp_path / "my.yaml"
    own.write_text(text)
    with pytest.raises(ConfigError):
        make(state, config=own)
    assert not state.exists


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [("0.0.0.0", "0.0.0.0", 1883), ("10.0.0.5:1884", "10.0.0.5", 1884), ("::", "::", 1883), ("[::]:1884", "::", 1884)],
)
def test_an_address_to_listen_on(text: str, address: str, port: int) -> None:
    assert plan._address(text, 1883) == (address, port)


def test_listening_is_remembered_and_switched_off(state: State) -> None:
    port = ports.free(set())
    own = plan.Listen("0.0.0.0", port, state.certs / "mqtt.pem", state.certs / "mqtt.key")
    assert make(state, listen=f"0.0.0.0:{port}").listen == own
    assert plan.load_made(state).listen == own
    assert plan.make(state, Wishes()).listen is not None
    assert plan.make(state, Wishes(listen="off")).listen is None
    assert plan.make(state, Wishes()).listen is None


def test_nothing_beyond_loopback_is_without_tls(state: State, tmp_path: Path) -> None:
    """Not even where an earlier Headrace listened there without."""
    made = make(state)
    with pytest.raises(ConfigError, match="the listener without TLS"):
        plan.make(state, Wishes(listen=f"0.0.0.0:{made.ports['mqtt']}"))
    known = state.read_json("settings.json")
    before = {"address": "0.0.0.0", "port": made.ports["mqtt"], "cert": "", "key": ""}
    state.write_json("settings.json", {**known, "listen": before})
    own = state.certs / "mqtt.pem", state.certs / "mqtt.key"
    assert plan.make(state, Wishes()).listen == plan.Listen("0.0.0.0", 8883, *own)
    assert ca.facts(own[0].read_text(), "it").names[:3] == ("localhost", "127.0.0.1", "::1")
    assert certs.own_address() in ca.facts(own[0].read_text(), "it").names


@pytest.mark.parametrize("listen", ["192.0.2.77", "no.such.name.invalid", "127.0.0.1:notaport"])
def test_an_address_that_is_not_ours_is_refused(state: State, listen: str) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        make(state, listen=listen)


def test_tls_files_go_together_and_exist(state: State, tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_text("")
    with pytest.raises(ConfigError, match="give both"):
        make(state, listen="0.0.0.0", tls_cert=cert)
    with pytest.raises(ConfigError, match="no such file"):
        make(state, listen="0.0.0.0", tls_cert=cert, tls_key=tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match="need --listen"):
        make(state, tls_cert=cert, tls_key=cert)


@pytest.mark.parametrize("name", ["a,b", "a;b", "a'b", "a\nb", "a$b"])
def test_a_path_that_a_server_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--state"):
        State(tmp_path / name).create()


def test_a_folder_of_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="files that are not"):
        State(tmp_path).create()


def test_a_wipe_removes_what_is_ours_and_nothing_else(state: State) -> None:
    make(state)
    (state.path / "notes.txt").write_text("mine")
    state.wipe()
    assert [p.name for p in state.path.iterdir()] == ["notes.txt"]


def test_no_stack_says_how_to_start_one(state: State) -> None:
    with pytest.raises(ConfigError, match="headrace up"):
        state.config()
    with pytest.raises(ConfigError, match="headrace up"):
        state.info()


def test_a_configuration_survives_being_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    text = (
        f"mqtt: {{password_file: {secret}, port: 1}}\nkafka: {{sasl: {{username: u, password: '1e3'}}}}\n"
        "streams: {imu: {routes: ['a/{device_id}', {filter: b/+, unknown_fields: ignore}]}}\ncontracts: [here]\n"
    )
    (tmp_path / "one.yaml").write_text(text)
    config = load(tmp_path / "one.yaml", {})
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(plain(config)))
    again = load(tmp_path / "two.yaml", {})
    assert plain(again) == plain(config)
    assert again.mqtt.password is not None
    assert again.mqtt.password.get_secret_value() == "s3cret"
    assert plain(Config()) == {} or plain(Config()) == {"streams": {}}


def test_the_filters_of_earlier_configurations_are_dropped_until_they_are_wanted_again(
    state: State, tmp_path: Path
) -> None:
    """The broker keeps the session: a filter of the tour would bring each message of a route below it twice."""
    mine = tmp_path / "my.yaml"
    mine.write_text("streams: {imu: {routes: ['sensors/{device_id}/mine']}}")
    assert make(state).config.bridge.dropped == ()
    tour = {"sensors/#", "sensors/+/imu", "sensors/+/environment", "sensors/+/vibration"}
    assert set(make(state, config=mine).config.bridge.dropped) == tour
    assert set(make(state, config=mine).config.bridge.dropped) == tour, "also when that start did not get so far"
    mine.write_text("streams: {imu: {routes: ['sensors/{device_id}/imu']}}")
    assert set(make(state, config=mine).config.bridge.dropped) == tour - {"sensors/+/imu"} | {"sensors/+/mine"}
