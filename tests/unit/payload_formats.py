"""For tests of payload formats: routes whose payloads become rows, and payloads with mistakes in them."""

import io
import json
import time
import tracemalloc
from typing import Any

import fastavro
from hypothesis import strategies as st

from bridge import routing
from bridge.decoders import formats
from bridge.decoders.base import Decoder, Found, Reading, Refused, Skipped, Source
from headrace.config import Config
from headrace.contracts.model import Contract, parse
from headrace.errors import PoisonError

NOW = 1_700_000_000_123_456
HERE = Source({"device_id": "d-1"})
LOOSE = Source({"device_id": "d-1"}, "ignore")
_MAX_MEMORY = 64 * 1024 * 1024


def contract(**fields: Any) -> Contract:
    """A contract with these optional fields beside those that all have: each a type, or a type and attributes."""
    inner = []
    for name, told in fields.items():
        kind, attributes = told if isinstance(told, tuple) else (told, {})
        inner.append({"name": name, "type": ["null", kind], "default": None, **attributes})
    head = [
        {"name": "device_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ]
    tail = [{"name": "_quality", "type": ["null", "string"], "default": None}]
    return parse("r", json.dumps({"type": "record", "name": "r", "fields": [*head, *inner, *tail]}))


def decoder(it: Contract, **route: Any) -> Decoder:
    """The decoder of a route with these settings."""
    config = Config.model_validate({"streams": {"r": {"routes": [{"filter": "s/{device_id}/r", **route}]}}})
    (made,) = routing.build(config).routes
    return formats.decoder(it, 7, made)


def rows(it: Contract, found: list[Found]) -> list[dict[str, Any]]:
    """The values of readings that are not null, `event_time` in microseconds. A payload that is refused raises."""
    schema = fastavro.parse_schema({
        **it.schema, "fields": [{**f, "type": "long"} if f["name"] == "event_time" else f for f in it.schema["fields"]]
    })  # fmt: skip
    out = []
    for one in found:
        if isinstance(one, Refused):
            raise one.error
        assert isinstance(one, Reading)
        body = io.BytesIO(one.value[5:])
        row = fastavro.schemaless_reader(body, schema, None)
        assert not body.read()
        assert isinstance(row, dict)
        out.append({k: v for k, v in row.items() if v is not None and k != "device_id"})
    return out


def refusal(it: Decoder, payload: bytes) -> PoisonError:
    """Why a payload is refused, all of it: as the only entry, with its bytes."""
    (one,) = it.decode(payload, HERE, NOW)
    assert isinstance(one, Refused)
    assert one.original == payload
    return one.error


def holds(it: Decoder, payload: bytes, source: Source = HERE) -> None:
    """That a payload, whatever it is, becomes readings or dead letters at once, and the same ones each time."""
    tracemalloc.start()
    began = time.process_time()
    try:
        found = it.decode(payload, source, NOW)
        assert time.process_time() - began < 5
        assert tracemalloc.get_traced_memory()[1] < _MAX_MEMORY
    finally:
        tracemalloc.stop()
    assert found
    assert all(isinstance(f, Reading | Refused | Skipped) for f in found)
    again = it.decode(payload, source, NOW)
    assert [_bytes(f) for f in again] == [_bytes(f) for f in found]
    it.marks(payload)
    for index, one in enumerate(found):
        if isinstance(one, Refused) and len(found) > 1:
            assert isinstance(it.decode(one.original, source, NOW)[0], Refused)
            assert it.element(payload, index) == one.original


def _bytes(one: Found) -> object:
    return one.value if isinstance(one, Reading) else (type(one), str(one))


@st.composite
def mutated(draw: st.DrawFn, *payloads: bytes) -> bytes:
    """One of the payloads with bytes changed, left out, repeated or cut off; now and then any bytes."""
    data = bytearray(draw(st.sampled_from(payloads)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.integers(0, 5)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = data[at : at + draw(st.integers(1, 16))]
            case 3:
                data[at:at] = draw(st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"[" * 64, b"1e999"]))
            case 4:
                del data[at:]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)
