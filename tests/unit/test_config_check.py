"""One configuration check: `config check`, `up` and the services refuse the same, in the same words."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
import yaml

import bridge.service
import hub.service
import processors.archive.service
import processors.clean.service
import processors.copy.service
import processors.derive.service
from headrace.config import Config, load
from headrace.config.check import Service, problems
from headrace.stack import mosquitto, plan, progress

IMU = {"routes": ["sensors/{device_id}/imu"]}
B, C, A, K, H = Service.BRIDGE, Service.CLEAN, Service.ARCHIVE, Service.COPY, Service.HUB
D = Service.DERIVE


class Case(NamedTuple):
    """A configuration, the services that refuse it, and a part of each line that tells what is wrong."""

    config: dict[str, object]
    services: tuple[Service, ...]
    words: tuple[str, ...]


def streams(*routes: object, **over: object) -> dict[str, object]:
    return {"streams": {"imu": {"routes": list(routes)}}, **over}


CASES = {
    "no streams": Case({}, (B, C, A), ("streams: there is none", "nothing to store")),
    "no routes": Case({"streams": {"imu": {}}}, (B,), ("streams: no stream has a route",)),
    "no such contract": Case(
        {"streams": {"pump": {"routes": ["a/{device_id}"]}}}, (B,), ("streams.pump: no contract 'pump'",)
    ),
    "a faulty contract": Case(
        {"streams": {"faulty": {"routes": ["a/{device_id}"]}}, "contracts": ["contracts"]},
        (B,), ("streams.faulty: contract faulty: the contract has no doc", "event_time: it has no minimum"),
    ),
    "no folder of contracts": Case(streams("a/{device_id}", contracts=["nowhere"]), (B,), ("nowhere: no such folder",)),
    "a bridge called as a device may be": Case(
        streams("a/{device_id}", bridge={"client_id": "plant-bridge-0"}), (B,),
        ("bridge.client_id: begin it with headrace",),
    ),
    "not a filter": Case(streams("a/#/b"), (B,), ("streams.imu.routes[0].filter: a/#/b: + must fill a level",)),
    "a capture of no field": Case(
        streams("a/{site}/{device_id}"), (B,), ("routes[0].filter: {site} is not a text field",)
    ),
    "overlapping filters": Case(
        streams("a/{device_id}/+", "+/{device_id}/b"), (B,), ("+/{device_id}/b overlaps a/{device_id}/+",)
    ),
    "a capture in unrouted": Case(
        {"streams": {"imu": IMU}, "bridge": {"unrouted": ["a/{device_id}"]}}, (B,), ("bridge.unrouted[0]: a/{device",)
    ),
    "a shared filter": Case(
        {"streams": {"imu": IMU}, "bridge": {"unrouted": ["$share/g/a"]}}, (B,), ("bridge.unrouted[0]: $share/g/a",)
    ),
    "reading the receipts": Case(
        {"streams": {"imu": IMU}, "bridge": {"unrouted": ["#"]}}, (B,), ("bridge.unrouted[0]: # would read",)
    ),
    "a receipt elsewhere": Case(
        streams({"filter": "a/{device_id}", "receipt": "receipts/b"}), (B,),
        ("routes[0].receipt: receipts/b: it must begin with receipts/{device_id}",),
    ),
    "leaving without a group": Case(
        {"streams": {"imu": IMU}, "bridge": {"leave": True}}, (B,), ("bridge.leave: true would lose",)
    ),
    "cleaning an unknown stream": Case(
        {"streams": {"imu": IMU}, "clean": {"streams": ["imo"]}}, (C,), ("clean.streams: 'imo' is not a stream",)
    ),
    "archiving dead letters": Case(
        {"streams": {"imu": IMU}, "archive": {"topics": ["dead-letters"]}}, (A,), ("dead-letters holds dead letters",)
    ),
    "archiving into a folder of the lake": Case(
        {"streams": {"imu": IMU}, "archive": {"topics": ["_ledger"]}}, (A,), ("_ledger: the lake keeps its own",)
    ),
    "copying into a topic that clean writes": Case(
        {"streams": {"imu": IMU}, "copy": {"from": "imu.raw", "to": "imu.clean"}}, (K,), ("clean writes imu.clean",)
    ),
    "copying into a topic without positions": Case(
        {"streams": {"imu": IMU}, "copy": {"from": "imu.raw", "to": "twin"}}, (K,), ("copy.to: twin. Name a topic",)
    ),
    "copying from nowhere": Case(
        {"streams": {"imu": IMU}, "copy": {"to": "twin.clean"}}, (K,), ("copy.from: no topic is named",)
    ),
    "copying onto itself": Case(
        {"streams": {"imu": IMU}, "copy": {"from": "a.clean", "to": "a.clean"}}, (K,), ("a.clean is copied onto",)
    ),
    "archiving two topics into one folder": Case(
        {"streams": {"imu": IMU}, "archive": {"topics": ["imu", "imu.clean"]}}, (A,), ("share the folder imu",)
    ),
    "a hub without a database and tokens": Case(
        {"streams": {"imu": IMU}, "hub": {"serve": {"port": 1}}}, (H,),
        ("hub.serve.database: none", "hub.serve.admin_token: none", "hub.serve.broker_token: none"),
    ),
    "a hub with tokens that are short, and the same": Case(
        {"streams": {"imu": IMU}, "hub": {"serve": {
            "database": "sqlite:////tmp/x", "admin_token": "secret", "broker_token": "secret",
        }}}, (H,), ("admin_token: too short", "broker_token: too short", "broker_token: it is the admin's"),
    ),
    "a route that does not say who publishes": Case(
        streams("a/+/imu"), (B,), ("streams.imu.routes[0]: a/+/imu captures no {device_id}, so any device",)
    ),
    "an identity that the filter does not capture": Case(
        streams({"filter": "a/{device_id}", "identity": "gw"}), (B,),
        ("routes[0]: identity: a/{device_id} captures no {gw}",),
    ),
    "two levels that say who publishes": Case(
        {"streams": {"imu": {"routes": [{"filter": "a/{gw}/{device_id}", "identity": "gw"}]},
                     "environment": {"routes": [{"filter": "a/{device_id}/{gw}", "identity": "gw"}]}}},
        (B,), ("says at another level who publishes than a/",),
    ),
    "devices and gateways below one topic": Case(
        {"streams": {"imu": {"routes": [{"filter": "a/{gw}/{device_id}", "identity": "gw"}]},
                     "environment": {"routes": ["a/+/{device_id}"]}}},
        (B,), ("only one of them is for gateways, so a device could publish as any other there",),
    ),
    "made of an unknown stream": Case(
        {"streams": {"imu": IMU, "environment": {"from": "imo", "transform": "m:f"}}}, (D,),
        ("streams.environment.from: 'imo' is no stream. There are: environment, imu. Correct the name",),
    ),
    "made of itself": Case(
        {"streams": {"imu": IMU, "environment": {"from": "environment", "transform": "m:f"}}}, (D,),
        ("streams.environment.from: environment would be made of itself",),
    ),
    "made of each other": Case(
        {"streams": {"imu": {"from": "environment", "transform": "m:f"},
                     "environment": {"from": "imu", "transform": "m:f"}, "pump": IMU}},
        (B, D), ("streams.imu.from: imu would be made of itself", "streams.environment.from: environment would be made",
                 "streams.pump: no contract 'pump'"),
    ),
    "made with other partitions": Case(
        {"streams": {"imu": IMU, "environment": {"from": "imu", "transform": "m:f", "partitions": 5}}}, (D,),
        ("streams.environment.partitions: 5, and imu, of which it is made, has 3. Remove the key",),
    ),
    "made by nothing": Case(
        {"streams": {"imu": IMU, "environment": {"from": "imu"}}}, (D,),
        ("streams.environment.transform: none is given. Name the Python file that makes the rows of those of imu",),
    ),
    "made by a file that is not there": Case(
        {"streams": {"imu": IMU, "environment": {"from": "imu", "transform": "nowhere.py"}}}, (D,),
        ("streams.environment.transform: ", "nowhere.py: no such file. Correct the path"),
    ),
    "made, and routed to": Case(
        {"streams": {"imu": IMU,
                     "environment": {"from": "imu", "transform": "m:f", "routes": ["made/{device_id}"]}}}, (D,),
        ("streams.environment.routes: it is made of imu (`from`), so no message can be routed to it",),
    ),
    "making what is not made of a stream": Case(
        {"streams": {"imu": IMU, "environment": {"from": "imu", "transform": "m:f"}},
         "derive": {"streams": ["imu", "imo", "environment"]}}, (D,),
        ("derive.streams: 'imu' is no stream with `from`. There are: environment", "derive.streams: 'imo' is no"),
    ),
    "a filter that the broker would fill in": Case(streams("a/%u/{device_id}"), (B,), ("Leave out %u, %c",)),
}  # fmt: skip
SERVICES: dict[Service, tuple[str, ...]] = {
    B: ("bridge",),
    C: ("processors", "clean"),
    A: ("processors", "archive"),
    K: ("processors", "copy"),
    H: ("hub",),
    D: ("processors", "derive"),
}
FAULTY = (
    '{"type":"record","name":"faulty","fields":[{"name":"device_id","type":"string","doc":"d"},'
    '{"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"},"doc":"d"},'
    '{"name":"_quality","type":["null","string"],"default":null}]}'
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a faulty contract. Whatever starts, or begins to prepare a start, fails the test."""
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "faulty.avsc").write_text(FAULTY, encoding="utf-8")

    def started(*_: object) -> NoReturn:
        pytest.fail("it starts")

    for module, name in (
        (bridge.service, "main"), (processors.clean.service, "run"), (processors.archive.service, "run"),
        (processors.copy.service, "run"), (processors.derive.service, "run"), (hub.service, "main"),
        (mosquitto, "obtain"), (progress, "fetch_shown"), (plan, "make"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, started)
    return tmp_path


Refusal = tuple[object, list[str]]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Refusal]:
    """Runs a command; returns its exit code and the problems that it lists on standard error."""

    def run(*argv: str) -> Refusal:
        monkeypatch.setattr(sys, "argv", list(argv))
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(argv[0], run_name="__main__")
        head, *lines = capsys.readouterr().err.splitlines()
        assert head.endswith("configuration refused")
        return ended.value.code, lines

    return run


@pytest.mark.parametrize("name", CASES)
def test_check_up_and_the_services_refuse_a_configuration_in_the_same_words(
    name: str, here: Path, refusal: Callable[..., Refusal]
) -> None:
    case = CASES[name]
    file = here / "c.yaml"
    file.write_text(yaml.safe_dump(case.config), encoding="utf-8")
    code, lines = refusal("headrace", "config", "check", str(file))
    assert code == 2
    assert all(any(words in line for line in lines) for words in case.words), lines
    assert refusal("headrace", "--state", str(here / "state"), "up", "--config", str(file)) == (2, lines)
    said: set[str] = set()
    for service in case.services:
        code, some = refusal(*SERVICES[service], "--config", str(file))
        assert code == 2
        assert set(some) <= set(lines)
        said.update(some)
    assert said == set(lines)


def test_a_service_does_not_refuse_what_it_does_not_read() -> None:
    config = Config.model_validate({"streams": {"imu": {"routes": ["a/#/b"]}}, "clean": {"streams": ["imo"]}})
    assert problems(config, [A]) == []
    assert [p.split(":")[0] for p in problems(config)] == ["streams.imu.routes[0].filter", "clean.streams"]


def test_the_bridge_starts_though_a_stream_without_routes_has_no_contract() -> None:
    streams = {"imu": {"routes": ["sensors/{device_id}/imu"]}, "later": {}}
    config = Config.model_validate({"streams": streams})
    assert problems(config, [B]) == []
    assert [p.split(":")[0] for p in problems(config, [Service.PROVISION])] == ["streams.later"]


def test_config_check_can_look_at_one_service_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = here / "c.yaml"
    file.write_text("archive: {topics: [orders]}", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["headrace", "config", "check", "--for", "archive", str(file)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("headrace", run_name="__main__")
    assert ended.value.code == 0
    assert "good" in capsys.readouterr().out


def test_the_shipped_examples_have_no_problem() -> None:
    root = Path(__file__).resolve().parents[2]
    assert problems(load(root / "bridge" / "example.yaml", {}), [B]) == []
    assert problems(load(root / "processors" / "example.yaml", {}), [C, A]) == []
    assert problems(load(root / "compose" / "headrace.yaml", {})) == []
