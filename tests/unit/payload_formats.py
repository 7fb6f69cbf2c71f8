"""For tests of payload formats: routes whose payloads become rows."""

import io
import json
from typing import Any

import fastavro

from bridge import routing
from bridge.decoders import formats
from bridge.decoders.base import Decoder, Found, Reading, Refused, Source
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
