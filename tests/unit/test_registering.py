"""A stream whose contract is refused: its messages are kept, and the other streams go on."""

import json

from bridge import registering
from bridge.decoders.base import Reading, Refused, Source
from bridge.redrive.again import Again
from bridge.routing import build
from headrace import deadletters
from headrace.config import Config
from headrace.config.model import Http
from headrace.contracts.model import Contract, parse
from headrace.deadletters import MqttSource, ReadLetter, Stage
from headrace.errors import Reason, RefusedContractError
from headrace.protocol import wire
from headrace.runtime.health import Health
from headrace.runtime.metrics import CONTRACT_REFUSED

CONFIG = Config.model_validate({"streams": {s: {"routes": [f"{s}/{{device_id}}"]} for s in ("heat", "flow")}})
WHY = "field t changed from double to string"


def contract(name: str) -> Contract:
    fields = [
        {"name": "device_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "t", "type": "double"},
        {"name": "_quality", "type": ["null", "string"], "default": None},
    ]
    return parse(name, json.dumps({"type": "record", "name": name, "fields": fields}))


CONTRACTS = {s: contract(s) for s in CONFIG.streams}
PAYLOAD = b'{"t": 21.5}'


def ask(stream: str, it: Contract) -> int:
    if stream == "heat":
        raise RefusedContractError(it.name, f"{stream}.raw-value", [WHY])
    return 7


def test_one_refused_contract_makes_dead_letters_of_its_own_stream_only() -> None:
    ids, refused = registering.register(CONTRACTS, ask)
    assert ids == {"flow": 7}
    routing = build(CONFIG)
    decoders = registering.decoders(routing, CONTRACTS, ids, refused)
    found = {
        r.stream: decoders[r.where]
        .of("")
        .decode(PAYLOAD, Source({"device_id": "d"}, r.options.unknown_fields), 1_700_000_000_000_000)
        for r in routing.routes
    }
    (reading,), (kept,) = found["flow"], found["heat"]
    assert isinstance(reading, Reading)
    assert isinstance(kept, Refused)
    assert (kept.original, kept.error.reason) == (PAYLOAD, Reason.CONTRACT_REFUSED)
    assert str(kept.error) == f"the contract of heat is refused: {WHY}"


def test_it_is_told_where_people_look_and_the_service_stays_ready() -> None:
    _, refused = registering.register(CONTRACTS, ask)
    with Health(Http(), ("kafka",)) as health:
        health.ready("kafka", ok=True)
        registering.tell(CONTRACTS, refused, health)
        ready, facts = health.is_ready()
    assert ready
    said = facts["warnings"]["contract of heat"]
    assert WHY in said
    assert "headrace contracts upgrade heat" in said
    assert "headrace dlq redrive --reason contract_refused" in said
    figures = {s.labels["stream"]: s.value for s in next(iter(CONTRACT_REFUSED.collect())).samples}
    assert (figures["heat"], figures["flow"]) == (1, 0)


def letter(stream: str) -> ReadLetter:
    source, came = MqttSource(f"{stream}/d", 0, b"p" * 16), [(wire.MQTT_TOPIC, f"{stream}/d".encode())]
    error = registering.poison(stream, RefusedContractError(stream, "", [WHY]))
    made = deadletters.letter(error, PAYLOAD, stage=Stage.BRIDGE, stream=stream, source=source, original=came)
    return ReadLetter(made.key, made.value, dict(made.headers), 0, 0, 1)


def test_letters_of_other_streams_are_redriven_while_one_is_refused() -> None:
    ids, refused = registering.register(CONTRACTS, ask)
    again = Again(build(CONFIG), CONTRACTS, ids, dict.fromkeys(CONTRACTS, 10_000), lambda _: "", refused)
    assert len(again.judge(letter("flow"), PAYLOAD, 1).records) == 1
    error = again.judge(letter("heat"), PAYLOAD, 1).refused
    assert error is not None
    assert error.reason is Reason.CONTRACT_REFUSED


def test_they_are_all_redriven_once_the_contract_is_good() -> None:
    ids = dict.fromkeys(CONTRACTS, 7)
    again = Again(build(CONFIG), CONTRACTS, ids, dict.fromkeys(CONTRACTS, 10_000), lambda _: "")
    assert len(again.judge(letter("heat"), PAYLOAD, 1).records) == 1


def test_letters_of_a_stream_that_another_follows_go_to_that_one() -> None:
    config = Config.model_validate({
        "streams": {"heat": {}, "heat_v2": {"follows": "heat", "routes": ["heat/{device_id}"]}}
    })  # fmt: skip
    contracts, ids = {s: contract(s) for s in config.streams}, dict.fromkeys(config.streams, 7)
    heirs = {s: config.lineage(s) for s in config.streams}
    again = Again(build(config), contracts, ids, dict.fromkeys(ids, 10_000), lambda _: "", None, heirs)
    assert [r.topic for r in again.judge(letter("heat"), PAYLOAD, 1).records] == ["heat_v2.raw"]
    error = again.judge(letter("flow"), PAYLOAD, 1).refused
    assert error is not None
    assert error.reason is Reason.NO_ROUTE
