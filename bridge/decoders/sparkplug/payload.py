"""Sparkplug B's message (Sparkplug 3.0, 6.4): its class, and a payload read as one."""

from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from headrace.errors import PoisonError, Reason

MAX_METRICS = 50_000
_BOOLEAN = 11  # the type's number
_KIND = descriptor_pb2.FieldDescriptorProto
_WHOLE, _NUMBER, _TEXT, _TRUTH = _KIND.TYPE_UINT64, _KIND.TYPE_UINT32, _KIND.TYPE_STRING, _KIND.TYPE_BOOL
_PLAIN = (_NUMBER, _WHOLE, _KIND.TYPE_FLOAT, _KIND.TYPE_DOUBLE, _TRUTH, _TEXT)
_VALUES = ("int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value")


@lru_cache(maxsize=1)  # who learns from a message, and then each stream that takes it, read the same bytes
def read(payload: bytes) -> Any:
    """The message. PoisonError: it is no such payload, or has too many metrics."""
    message = _PAYLOAD()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        words = (
            "not a payload of Sparkplug B, or damaged. Narrow the route's filter to its births and data: STATE is JSON"
        )
        raise PoisonError(Reason.MALFORMED, words) from None
    if len(message.metrics) > MAX_METRICS:
        words = f"{len(message.metrics):,} metrics, and a message may have {MAX_METRICS:,}: send them in several"
        raise PoisonError(Reason.TOO_LARGE, words)
    return message


def rebirth(now: int) -> bytes:
    """The payload that asks an edge node for its births. `now`: nanoseconds since 1970 UTC."""
    message = _PAYLOAD(timestamp=now // 1_000_000)
    message.metrics.add(name="Node Control/Rebirth", timestamp=message.timestamp, datatype=_BOOLEAN, boolean_value=True)
    out: bytes = message.SerializeToString()
    return out


def _payload() -> Any:
    """The class of the message, with the fields of the specification that are read."""
    file = descriptor_pb2.FileDescriptorProto(name="headrace/sparkplug.proto", package="headrace.sparkplug")
    cell = file.message_type.add(name="Cell")
    _values(cell, _PLAIN, 1)
    row = file.message_type.add(name="Row")
    _field(row, "elements", 1, "Cell", many=True)
    table = file.message_type.add(name="DataSet")
    _field(table, "columns", 2, _TEXT, many=True)
    _field(table, "types", 3, _NUMBER, many=True)
    _field(table, "rows", 4, "Row", many=True)
    template = file.message_type.add(name="Template")
    _field(template, "metrics", 2, "Metric", many=True)
    _field(template, "is_definition", 5, _TRUTH)
    metric = file.message_type.add(name="Metric")
    for name, at, of in (("name", 1, _TEXT), ("alias", 2, _WHOLE), ("timestamp", 3, _WHOLE), ("datatype", 4, _NUMBER)):
        _field(metric, name, at, of)
    _field(metric, "is_null", 7, _TRUTH)
    _values(metric, (*_PLAIN, _KIND.TYPE_BYTES, "DataSet", "Template"), 10)
    payload = file.message_type.add(name="Payload")
    _field(payload, "timestamp", 1, _WHOLE)
    _field(payload, "metrics", 2, "Metric", many=True)
    _field(payload, "seq", 3, _WHOLE)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("headrace.sparkplug.Payload"))


def _values(message: Any, types: tuple[Any, ...], first: int) -> None:
    message.oneof_decl.add(name="value")
    names = (*_VALUES, "bytes_value", "dataset_value", "template_value")
    for at, (name, of) in enumerate(zip(names, types, strict=False), first):
        _field(message, name, at, of, oneof_index=0)


def _field(message: Any, name: str, at: int, of: Any, *, many: bool = False, **more: int) -> None:
    label = _KIND.LABEL_REPEATED if many else _KIND.LABEL_OPTIONAL
    inner = (
        {"type": _KIND.TYPE_MESSAGE, "type_name": f".headrace.sparkplug.{of}"} if isinstance(of, str) else {"type": of}
    )
    message.field.add(name=name, number=at, label=label, **inner, **more)


_PAYLOAD = _payload()
