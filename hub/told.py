"""What the streams of hub hold: rows of the outbox as readings of the contracts device_events and device_audit."""

import io
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import fastavro

from headrace.contracts.model import Contract
from headrace.protocol.auditlog import canonical
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS
from headrace.protocol.wire import EVENT_ID_BYTES, Headers, Provenance
from hub.outbox import Row

_KEPT = ("kind", "state", "serial", "model", "firmware", "owner", "tags", "groups")
_RULE = ("rule", "value", "most")  # of an event of behaviour
_LOGGED = ("actor", "act", "target", "detail", "previous", "hash")


def reading(row: Row) -> dict[str, Any]:
    """The fields of the row's contract."""
    return {"device_id": row.key, "number": row.number, **_MAKE[row.stream](row.payload), "_quality": None}


def encoder(contract: Contract) -> Callable[[dict[str, Any]], bytes]:
    """A function that writes readings of the contract as Avro."""
    parsed = fastavro.parse_schema(contract.schema)

    def encode(fields: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, fields, strict=True)
        return out.getvalue()

    return encode


def headers(identity: int, number: int, at: int) -> Headers:
    """An event id that only a repeat of the row has: so clean drops it. `identity`: of the database."""
    event_id = blake2b(b"hub:%d:%d" % (identity, number), digest_size=EVENT_ID_BYTES).digest()
    return [Provenance(event_id, at).header()]


def _event(payload: dict[str, Any]) -> dict[str, Any]:
    device = payload["device"]
    told = {name: device[name] for name in _KEPT}
    attributes = canonical(device["attributes"])
    return {
        "event_time": payload["at"], "event": payload["event"], "actor": payload["actor"], **told,
        "attributes": attributes, **dict.fromkeys(_RULE), **payload.get("rule", {}),
    }  # fmt: skip


def _audit(payload: dict[str, Any]) -> dict[str, Any]:
    entry = {"event_time": payload["time"], "entry": payload["number"]}
    return {**entry, **{name: payload[name] for name in _LOGGED}}


_MAKE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {DEVICE_EVENTS: _event, DEVICE_AUDIT: _audit}
