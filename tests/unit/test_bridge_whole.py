"""Payloads that can't be split, with a reading that Kafka can't take: all of it is refused, and nothing comes twice."""

import json

import pytest

from bridge.decoders.base import Reading, Refused, Source
from bridge.lanes import Lane
from bridge.redrive.again import Again
from bridge.routing import build
from headrace.config import Config
from headrace.contracts.model import Contract, parse
from headrace.errors import Reason
from headrace.runtime.metrics import BRIDGE_MESSAGES
from tests.unit.test_bridge_parsed import CONTRACT, NOW, made
from tests.unit.test_bridge_redrive import NEW, received

SOURCE = Source({"device_id": "d-1"})
PAYLOAD = b"x=1;x=2"


def wide() -> Contract:
    text = {"name": "text", "type": ["null", "string"], "default": None}
    schema = CONTRACT.schema
    return parse(
        "heat", json.dumps({**schema, "name": "heat", "fields": [*schema["fields"][:3], text, *schema["fields"][4:]]})
    )


@pytest.mark.parametrize("splits", [True, False])
def test_one_reading_too_large_of_a_payload_that_cannot_be_split_refuses_all_of_it(splits: bool) -> None:
    decoder = made(splits=splits)
    first, second = decoder.decode(PAYLOAD, SOURCE, NOW)
    assert isinstance(first, Reading)
    assert isinstance(second, Reading)
    lane = Lane("r", "r.raw", decoder, SOURCE, BRIDGE_MESSAGES.labels("r"), limit=len(first.value) - 1)
    found = lane.read(PAYLOAD, NOW)
    assert [f.original for f in found if isinstance(f, Refused)] == ([b"x=1", b"x=2"] if splits else [PAYLOAD])
    assert len(found) == (2 if splits else 1)


def test_a_redrive_of_a_payload_that_cannot_be_split_stores_all_of_it_or_nothing() -> None:
    config = Config.model_validate(
        {"streams": {"heat": {"routes": [{"filter": "a/{device_id}/heat", "format": "columns"}]}}}
    )
    it = Again(build(config), {"heat": wide()}, {"heat": NEW}, {"heat": 3_000}, lambda _: "")
    payload = json.dumps({"t0": NOW // 1_000_000, "dt": 1, "x": [1, 2], "text": ["a", "b" * 5_000]}).encode()
    outcome = it.judge(received(payload), payload, 1)
    assert (outcome.records, outcome.letters) == ((), ())
    assert outcome.refused is not None
    assert outcome.refused.reason is Reason.TOO_LARGE
    fits = payload.replace(b"b" * 5_000, b"b")
    assert len(it.judge(received(fits), fits, 1).records) == 2
