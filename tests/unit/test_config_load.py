"""The configuration: file, environment, secrets, and what is said when they are wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.config import load
from headrace.errors import ConfigError
from headrace.stack.state import plain

NOTHING: dict[str, str] = {}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str, name: str = "headrace.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def refusal(path: Path | None, environ: dict[str, str] = NOTHING) -> str:
    with pytest.raises(ConfigError) as e:
        load(path, environ)
    return str(e.value)


def test_defaults_without_file_and_environment() -> None:
    config = load(None, NOTHING)
    assert config.kafka.bootstrap == "127.0.0.1:9092"
    assert config.streams == {}


def test_over_beats_environment_beats_file_beats_defaults(write: Write) -> None:
    path = write("kafka: {bootstrap: 'file:1'}\nmqtt: {port: 11, host: file}\n")
    environ = {"HEADRACE_KAFKA__BOOTSTRAP": "env:2", "HEADRACE_MQTT__PORT": "22"}
    config = load(path, environ, over={"mqtt": {"port": 33}})
    assert (config.kafka.bootstrap, config.mqtt.port, config.mqtt.host) == ("env:2", 33, "file")
    assert config.registry.timeout_seconds == 5.0


def test_keys_that_are_words_of_python_are_settings_like_any_other() -> None:
    assert load(None, {"HEADRACE_COPY__FROM": "imu.clean"}).copying.source == "imu.clean"
    assert plain(load(None, {"HEADRACE_COPY__FROM": "a.clean"}))["copy"] == {"from": "a.clean"}


def test_missing_file_is_an_error_with_its_path() -> None:
    assert refusal(Path("/nowhere/x.yaml")).startswith("/nowhere/x.yaml: no such file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kafka: {bootstrp: x}\n", "kafka.bootstrp: unknown key; did you mean bootstrap?"),
        ("kafak: {}\n", "kafak: unknown key; did you mean kafka?"),
        ("streams: {imu: {partitons: 3}}\n", "did you mean partitions?"),
        ("streams: {imu: {routes: [{filtr: a}]}}\n", "did you mean filter?"),
        ("streams: {IMU: {}}\n", "can't name a stream"),
        ("mqtt: {port: 99999}\n", "mqtt.port"),
        ("mqtt: {port: many}\n", "mqtt.port"),
        ("kafka: {bootstrap: 'http://kafka:9092'}\n", "kafka.bootstrap: 'http://kafka:9092' is not host:port"),
        ("kafka: {bootstrap: 'kafka:9092,kafka:99999'}\n", "is not host:port"),
        ("kafka: {bootstrap: ''}\n", "is not host:port"),
        ("store: {endpoint: 'http://s3:8333'}\n", "store.endpoint: 'http://s3:8333' is not host:port"),
        ("registry: {url: 'registry:8081/apis/ccompat/v7'}\n", "registry.url: a URL is expected"),
        ("mqtt:\n\tport: 1\n", ", line 2, column 1: not YAML"),
        ("mqtt:\n", "mqtt"),
        ("mqtt: [1]\n", "mqtt"),
        ("- 1\n", "expected `key: value` lines at the top level"),
        ("just text", "expected `key: value` lines at the top level"),
        ("a: [1\n", "not YAML"),
        ("mqtt: {port: 1}\nmqtt: {port: 2}\n", "'mqtt' is given twice"),
        ("? [1, 2]\n: 3\n", "not YAML"),
        ("1: 2\n", "1"),
        ("[" * 20_000, "nested too deeply"),
        ("store: {bucket: Not_A_Bucket}\n", "store.bucket"),
        ("mqtt: {tls: {cert_file: /nowhere/c.pem}}\n", "cert_file and key_file go together"),
        ("mqtt: {tls: {ca_file: /nowhere/ca.pem}}\n", "no such file: /nowhere/ca.pem"),
    ],
)
def test_a_wrong_file_names_file_key_and_remedy(write: Write, text: str, words: str) -> None:
    path = write(text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert words in message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00a: 1")
    assert "not UTF-8 text, as a configuration must be. Save it as UTF-8" in refusal(path)


def test_every_wrong_key_is_told_at_once(write: Write) -> None:
    message = refusal(write("kafka: {a: 1}\nmqtt: {b: 2, port: -1}\n"))
    assert all(key in message for key in ("kafka.a", "mqtt.b", "mqtt.port"))


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("HEADRACE_KAFKA__BOOTSTRP", "did you mean HEADRACE_KAFKA__BOOTSTRAP?"),
        ("HEADRACE_KAFAK__BOOTSTRAP", "did you mean HEADRACE_KAFKA?"),
        ("HEADRACE_KAFKA_BOOTSTRAP", "no setting 'kafka_bootstrap'; did you mean HEADRACE_KAFKA__BOOTSTRAP?"),
        ("HEADRACE_DEAD_LETTERS_TOPIC", "did you mean HEADRACE_DEAD_LETTERS__TOPIC?"),
        ("HEADRACE_BRIDGE__HTTP_PORT", "did you mean HEADRACE_BRIDGE__HTTP__PORT?"),
        ("HEADRACE_KAFKA__BOOTSTRAP__X", "HEADRACE_KAFKA__BOOTSTRAP__X"),
        ("HEADRACE_STREAMS__IMU__PARTITONS", "did you mean HEADRACE_STREAMS__IMU__PARTITIONS?"),
        ("HEADRACE_COPY__FORM", "did you mean HEADRACE_COPY__FROM?"),
        ("HEADRACE_COPYING__FROM", "did you mean HEADRACE_COPY?"),
        ("HEADRACE_", "no setting"),
        ("HEADRACE_KAFKA__", "no setting"),
    ],
)
def test_a_mistyped_variable_is_an_error(variable: str, words: str) -> None:
    message = refusal(None, {variable: "x"})
    assert variable in message
    assert words in message


@pytest.mark.parametrize("text", ["kafka", "a:1, b-2.example:65535", "[::1]:9092,10.0.0.1:9092"])
def test_addresses_of_kafka(text: str) -> None:
    assert load(None, {"HEADRACE_KAFKA__BOOTSTRAP": text}).kafka.bootstrap == text


def test_variables_that_are_no_settings_pass() -> None:
    others = {"HEADRACE_STATE": "/x", "HEADRACE_CONFIG": "/y", "HEADRACE_CACHE": "/z", "PATH": "/bin"}
    assert load(None, others) == load(None, {})


def test_a_wrong_value_names_its_variable() -> None:
    message = refusal(None, {"HEADRACE_MQTT__PORT": "many"})
    assert "HEADRACE_MQTT__PORT" in message
    assert "mqtt.port" in message


def test_variables_reach_lists_maps_and_streams(write: Write) -> None:
    path = write("streams: {imu: {partitions: 3, routes: [a]}}\n")
    environ = {
        "HEADRACE_STREAMS__IMU__PARTITIONS": "6",
        "HEADRACE_CONTRACTS": "[/a, /b]",
        "HEADRACE_KAFKA__LIBRDKAFKA": "{linger.ms: 5}",
    }
    config = load(path, environ)
    assert config.streams["imu"].partitions == 6
    assert config.streams["imu"].routes[0].filter == "a"
    assert config.contracts == (Path("/a"), Path("/b"))
    assert config.kafka.librdkafka == {"linger.ms": 5}


def test_a_section_and_one_of_its_settings_in_any_order() -> None:
    config = load(None, {"HEADRACE_MQTT__HOST": "b", "HEADRACE_MQTT": "{host: a, port: 5}"})
    assert (config.mqtt.host, config.mqtt.port) == ("b", 5)


@pytest.mark.parametrize("secret", ["12345", "on", "1e3", "null", "a: b", "{x}", " spaced "])
def test_text_in_variables_is_taken_as_it_stands(secret: str) -> None:
    config = load(None, {"HEADRACE_MQTT__PASSWORD": secret, "HEADRACE_MQTT__USERNAME": secret})
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == secret
    assert config.mqtt.username == secret


def test_optional_sections_come_from_variables() -> None:
    config = load(None, {"HEADRACE_KAFKA__SASL__USERNAME": "u", "HEADRACE_KAFKA__SASL__PASSWORD": "p"})
    assert config.kafka.sasl is not None
    assert config.kafka.sasl.username == "u"


def test_secrets_come_from_files_and_are_not_shown(write: Write, tmp_path: Path) -> None:
    write("s3cret\n", "password")
    config = load(write("mqtt: {password_file: password}\n"), NOTHING)
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing", None, "cannot read password_file"),
        ("empty", b"\n", "is empty"),
        ("bytes", b"\xff\xfe", "not a text file"),
    ],
)
def test_a_secret_file_that_does_not_serve(
    write: Write, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    message = refusal(write(f"mqtt: {{password_file: {name}}}\n"))
    assert words in message
    assert str(tmp_path / name) in message


def test_a_secret_and_its_file_are_one_too_many(write: Write) -> None:
    write("x", "password")
    assert "not both" in refusal(write("mqtt: {password: a, password_file: password}\n"))


def test_messages_never_hold_secrets(write: Write) -> None:
    message = refusal(write("mqtt: {password: [hunter2], username: {hunter3: x}}\n"))
    assert "hunter2" not in message


def test_relative_paths_are_beside_the_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "ca.pem").write_text("x", encoding="utf-8")
    config = load(
        write("contracts: [mine, /abs]\nmqtt: {tls: {enabled: true, ca_file: ca.pem}}\nstore: {folder: lake}\n"),
        NOTHING,
    )
    assert config.contracts == (tmp_path / "mine", Path("/abs"))
    assert config.mqtt.tls.ca_file == tmp_path / "ca.pem"
    assert config.store.folder == tmp_path / "lake"


def test_a_frozen_configuration() -> None:
    config = load(None, NOTHING)
    with pytest.raises(Exception, match="frozen"):
        config.kafka.bootstrap = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("streams: {imu: {routes: sensors}}\n", "streams.imu.routes: expected a list, such as [a, b]"),
        ("streams: [imu]\n", "streams: expected a mapping"),
        ("kafka: hello\n", "kafka: expected a mapping"),
        ("mqtt: {port: abc}\n", "mqtt.port: expected a whole number"),
        ("mqtt: {port: 99999}\n", "mqtt.port: it must be at most 65535"),
        ("streams: {imu: {routes: [{filter: 1}]}}\n", "streams.imu.routes[0].filter: expected text"),
        ("streams: {imu: {xyz: 1}}\n", "unknown key. There are: contract, follows, from, routes, partitions, "),
    ],
)
def test_a_value_of_the_wrong_kind_is_said_in_plain_words(write: Write, text: str, words: str) -> None:
    assert words in refusal(write(text))
