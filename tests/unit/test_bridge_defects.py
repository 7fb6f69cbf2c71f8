"""A decoder that fails ends the bridge for nobody: its payload is a dead letter, and a receipt leaves all the same."""

from typing import Any

import orjson
import pytest
from mqtt5 import PublishPacket, QoS, read
from prometheus_client import Counter

from bridge.decoders.base import Refused, Source
from bridge.lanes import Lane
from bridge.receipts import Fate, ReceiptDesk, StandingReceipt
from headrace.errors import Reason
from tests.unit.test_receipts import MARKS

COUNTER = Counter("test_defects", "of these tests")


class Failing:
    """A decoder with a defect."""

    def __init__(self, error: Exception) -> None:
        self.ignored = 0
        self._error = error

    def decode(self, *_: object) -> Any:
        raise self._error

    def element(self, payload: bytes, _index: int) -> bytes:
        return payload

    def marks(self, _payload: bytes) -> Any:
        raise self._error


ERRORS = [ValueError("4301 digits"), MemoryError(), RecursionError(), KeyError("x")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_the_payload_of_a_decoder_that_fails_is_a_dead_letter(error: Exception) -> None:
    found = Lane("imu", "imu.raw", Failing(error), Source(), COUNTER, limit=1000).read(b"{}", 1)
    assert [(type(one), one.error.reason, one.original) for one in found if isinstance(one, Refused)] == [
        (Refused, Reason.MALFORMED, b"{}")
    ]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("marks", "payload", "reading"),
    [
        (Failing(ValueError()).marks, b"{}", None),
        (MARKS, b'{"sequence":7,"event_time":99999999999999999999999}', {"sequence": 7, "boot_id": None}),
        (MARKS, b'{"sequence":-9223372036854775809,"boot_id":"b"}', {"boot_id": "b"}),
    ],
)
def test_a_receipt_leaves_whatever_the_payload_holds(marks: Any, payload: bytes, reading: Any) -> None:
    packet = PublishPacket("sensors/w/imu", payload, qos=QoS.AT_LEAST_ONCE, packet_id=1)
    sent = ReceiptDesk("receipts/", []).answer(
        packet, b"sensors/w/imu", "w", StandingReceipt("receipts/w", marks), Fate(1, [])
    )
    answer, _ = read(memoryview(sent))
    assert isinstance(answer, PublishPacket)
    told = orjson.loads(answer.payload).get("reading")
    assert (told or {}).get("boot_id") == (reading or {}).get("boot_id")
    assert "event_time" not in (told or {})
    assert (told or {}).get("sequence") == (reading or {}).get("sequence")
