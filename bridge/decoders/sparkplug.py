"""Sparkplug B payloads (Sparkplug 3.0, chapter 6) to an object for each time: a key for each metric.

Nothing is remembered from one message to the next, so that a message that comes again gives the same. What only a birth
message says, the name of an alias and the type of a number, the route says.
"""

from functools import partial
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from bridge.decoders import times
from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.parsed import Parser
from headrace.config.formats import SPARKPLUG_TYPES, Sparkplug
from headrace.errors import PoisonError, Reason

_MAX_METRICS = 50_000
_NOT_READINGS = ("bdSeq", "Node Control/", "Device Control/")  # of the session, and commands
_TYPES = {number: name for name, number in SPARKPLUG_TYPES.items()}
_SIGNED = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
_VALUES = ("int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value", "bytes_value")


def parser(settings: Sparkplug | None) -> Parser:
    """The parser of Sparkplug B with these metrics."""
    return Parser(partial(parse, settings=settings or Sparkplug()))


def parse(payload: bytes, settings: Sparkplug) -> list[dict[str, Any]]:
    """The objects of a payload: of metrics that have the same time, one. PoisonError: it is no such payload."""
    message = _PAYLOAD()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        words = (
            "not a payload of Sparkplug B, or damaged. Narrow the route's filter to its births and data: STATE is JSON"
        )
        raise PoisonError(Reason.MALFORMED, words) from None
    if len(message.metrics) > _MAX_METRICS:
        words = f"{len(message.metrics):,} metrics, and a message may have {_MAX_METRICS:,}: send them in several"
        raise PoisonError(Reason.TOO_LARGE, words)
    rows: list[dict[str, Any]] = []
    latest: dict[int | None, dict[str, Any]] = {}
    for metric in message.metrics:
        if not isinstance(metric.name, str):  # the codec gives bytes where it is no UTF-8
            raise PoisonError(Reason.MALFORMED, "a metric's name is no text in UTF-8. Have the device send UTF-8")
        if metric.name.startswith(_NOT_READINGS):
            continue
        field, kind = _meaning(metric, settings)
        sent = next((m.timestamp for m in (metric, message) if m.HasField("timestamp")), None)
        row = latest.get(sent)
        if row is None or field in row:
            row = latest[sent] = {} if sent is None else {"event_time": times.at([sent * 1_000])[0]}
            rows.append(row)
            if len(rows) > MAX_ELEMENTS:
                raise PoisonError(Reason.TOO_LARGE, f"more than {MAX_ELEMENTS:,} times in one message")
        row[field] = None if metric.is_null else _value(metric, field, kind)
    return rows


def _meaning(metric: Any, settings: Sparkplug) -> tuple[str, str]:
    """The field of a metric, and its type; '' where neither the message nor the route says it."""
    told = settings.metrics.get(metric.name or str(metric.alias))
    if not metric.name and told is None:
        words = (
            f"the alias {metric.alias} has no name in this message. Name it in the route, as the device's birth "
            f"message does: `sparkplug: {{metrics: {{{metric.alias}: {{field: ..., type: ...}}}}}}`"
        )
        raise PoisonError(Reason.UNKNOWN_FIELD, words, value=str(metric.alias))
    field = told.field if told is not None else metric.name
    if metric.HasField("datatype"):
        kind = _TYPES.get(metric.datatype)
        if kind is None:
            words = f"{field[:80]}: the type {metric.datatype} can't be read. Types are {', '.join(SPARKPLUG_TYPES)}"
            raise PoisonError(Reason.WRONG_TYPE, words, field=field[:80])
        return field, kind
    return field, (told.type if told is not None else None) or ""


def _value(metric: Any, field: str, kind: str) -> Any:
    which = metric.WhichOneof("value")
    if which is None:
        raise PoisonError(Reason.MISSING_FIELD, f"{field[:80]}: no value that can be read", field=field[:80])
    value = getattr(metric, which)
    if which not in {"int_value", "long_value"}:
        return value
    if not kind:
        words = (
            f"{field[:80]}: a whole number without its type may be negative or not. Say the type in the route: "
            f"`sparkplug: {{metrics: {{{(metric.name or metric.alias)}: {{field: {field[:80]}, type: Int32}}}}}}`"
        )
        raise PoisonError(Reason.WRONG_TYPE, words, field=field[:80])
    if kind == "DateTime":
        return times.at([value * 1_000])[0]
    bits = _SIGNED.get(kind)
    if bits is None:
        return value
    low = value & ((1 << bits) - 1)  # senders extend the sign to 32 bits, or do not
    return low - (1 << bits) if low >> (bits - 1) else low


def _payload() -> Any:
    """The class of the message, with the fields of the specification that are read."""
    kind = descriptor_pb2.FieldDescriptorProto
    whole, number, text = kind.TYPE_UINT64, kind.TYPE_UINT32, kind.TYPE_STRING
    file = descriptor_pb2.FileDescriptorProto(name="headrace/sparkplug.proto", package="headrace.sparkplug")
    metric = file.message_type.add(name="Metric")
    plain = {"name": (1, text), "alias": (2, whole), "timestamp": (3, whole), "datatype": (4, number)}
    for name, (at, of) in (plain | {"is_null": (7, kind.TYPE_BOOL)}).items():
        metric.field.add(name=name, number=at, type=of, label=kind.LABEL_OPTIONAL)
    metric.oneof_decl.add(name="value")
    of_value = (number, whole, kind.TYPE_FLOAT, kind.TYPE_DOUBLE, kind.TYPE_BOOL, text, kind.TYPE_BYTES)
    for at, (name, of) in enumerate(zip(_VALUES, of_value, strict=True), 10):
        metric.field.add(name=name, number=at, type=of, label=kind.LABEL_OPTIONAL, oneof_index=0)
    payload = file.message_type.add(name="Payload")
    payload.field.add(name="timestamp", number=1, type=whole, label=kind.LABEL_OPTIONAL)
    payload.field.add(
        name="metrics",
        number=2,
        type=kind.TYPE_MESSAGE,
        type_name=".headrace.sparkplug.Metric",
        label=kind.LABEL_REPEATED,
    )
    payload.field.add(name="seq", number=3, type=whole, label=kind.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("headrace.sparkplug.Payload"))


_PAYLOAD = _payload()
