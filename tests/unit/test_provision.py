from collections.abc import Callable
from typing import Self

import pytest

from headrace.cli import context
from headrace.cli.provision import provision
from headrace.config import Config
from headrace.contracts.model import Contract
from headrace.errors import ConfigError, RefusedContractError, TransientError
from headrace.operate import provision as steps
from headrace.operate.provision import Part


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(context, "config", Config)
    monkeypatch.setattr("headrace.operate.provision._PAUSE_SECONDS", 0.01)
    for name, made in (("topics", []), ("contracts", {}), ("bucket", None)):
        monkeypatch.setattr(steps, name, step(name, made, calls))
    return calls


def step(name: str, made: object, calls: list[str]) -> Callable[..., object]:
    def run(*_: object) -> object:
        calls.append(name)
        return made

    return run


def test_all_is_made_where_nothing_is_named(called: list[str]) -> None:
    provision(None)
    assert called == ["topics", "contracts", "bucket"]


def test_only_what_is_named_is_made(called: list[str]) -> None:
    provision([Part.BUCKET])
    assert called == ["bucket"]


def away(times: int, calls: list[str]) -> object:
    def topics(_: Config) -> list[str]:
        calls.append("topics")
        if len(calls) <= times:
            raise TransientError("no Kafka")
        return ["imu.raw"]

    return topics


def test_a_server_that_is_away_is_waited_for(
    called: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "topics", away(3, called))
    provision([Part.TOPICS], wait=5)
    assert called == ["topics"] * 4
    said = capsys.readouterr().err
    assert said == "topics: no Kafka; waiting\ntopics: imu.raw created\n"


def test_no_longer_than_was_said(called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "topics", away(10**9, called))
    with pytest.raises(TransientError):
        provision([Part.TOPICS], wait=0.1)
    assert len(called) > 1
    called.clear()
    with pytest.raises(TransientError):
        provision([Part.TOPICS])
    assert called == ["topics"]


def test_what_no_waiting_mends_is_not_waited_for(called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def contracts(*_: object) -> dict[str, int]:
        called.append("contracts")
        raise ConfigError("incompatible")

    monkeypatch.setattr(steps, "contracts", contracts)
    with pytest.raises(ConfigError):
        provision([Part.CONTRACTS], wait=5)
    assert called == ["contracts"]


def test_one_refused_contract_keeps_no_other_from_being_registered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class Registry:
        def __init__(self, _: object) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def register(self, subject: str, contract: Contract) -> int:
            asked.append(subject)
            if subject.startswith("imu"):
                raise RefusedContractError(contract.name, subject, ["field ax changed"])
            return 5

    config = Config.model_validate({"streams": {"imu": {}, "vibration": {}}})
    monkeypatch.setattr(context, "config", lambda: config)
    monkeypatch.setattr("headrace.schema_registry.client.Registry", Registry)
    provision([Part.CONTRACTS])
    said = capsys.readouterr().err
    assert asked == ["imu.raw-value", "vibration.raw-value", "vibration.clean-value"]
    assert said.index("stream imu is refused") < said.index("field ax changed") < said.index("contracts upgrade imu")
    assert said.endswith("contracts: vibration has schema id 5\n")
    with pytest.raises(RefusedContractError):
        steps.contracts(config)
