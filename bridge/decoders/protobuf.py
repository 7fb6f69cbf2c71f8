"""Protocol Buffers to an object, by a descriptor set (`protoc --descriptor_set_out`). The one file that imports them.

A field without presence is there with its default, as its language has it. A field that the descriptor lacks becomes a
key such as `field_7`.
"""

from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from bridge.decoders import times
from bridge.decoders.parsed import Parser
from bridge.decoders.plain import Count
from bridge.decoders.wording import TOO_DEEP
from headrace.config.formats import Protobuf
from headrace.errors import ConfigError, PoisonError, Reason

_DEPTH = 32  # messages in one another
_MAX_UNKNOWN = 128 * 1024  # bytes of fields that the descriptor lacks: each is made before it can be counted
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)


def parser(settings: Protobuf) -> Parser:
    """The parser of a message type. ConfigError where the file is no descriptor set, or has no such message."""
    kind = message_type(settings)

    def parse(payload: bytes) -> list[dict[str, Any]]:
        message = kind()
        try:
            message.ParseFromString(payload)
        except DecodeError:
            words = f"not a message {settings.message}, or damaged. Is it what protobuf.message and the descriptor say?"
            raise PoisonError(Reason.MALFORMED, words) from None
        if len(payload) > _MAX_UNKNOWN:
            known = kind()
            known.CopyFrom(message)
            known.DiscardUnknownFields()
            if message.ByteSize() - known.ByteSize() > _MAX_UNKNOWN:
                words = f"more than {_MAX_UNKNOWN:,} bytes of fields that the descriptor lacks. Write it anew"
                raise PoisonError(Reason.TOO_LARGE, words)
        return [_object(message, Count(), 0)]

    return Parser(parse)


def message_type(settings: Protobuf) -> Callable[[], Message]:
    """What makes an empty message of the type."""
    where = f"{settings.descriptor}: {{}}. Write it anew: protoc --include_imports --descriptor_set_out=FILE x.proto"
    files = descriptor_pb2.FileDescriptorSet()
    try:
        files.ParseFromString(settings.descriptor.read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        found = pool.FindMessageTypeByName(settings.message)
    except OSError as e:
        raise ConfigError(f"{settings.descriptor}: {e.strerror}") from None
    except (DecodeError, TypeError) as e:
        raise ConfigError(where.format(f"no descriptor set, or an import is missing: {e}")) from None
    except KeyError:
        names = sorted(f"{f.package}.{m.name}".lstrip(".") for f in files.file for m in f.message_type)
        names = [name for name in names if not name.startswith("google.protobuf.")]
        words = f"no message {settings.message}. There are {', '.join(names[:12])}"
        raise ConfigError(f"{settings.descriptor}: {words}") from None
    made: Callable[[], Message] = message_factory.GetMessageClass(found)
    return made


def _object(message: Message, count: Count, depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise PoisonError(Reason.MALFORMED, TOO_DEEP)
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            count.more(len(value))
            found[field.name] = _repeated(field, value, count, depth)
        elif not field.has_presence or message.HasField(field.name):
            count.more(1)
            found[field.name] = _one(field, value, count, depth)
    for unknown in UnknownFieldSet(message):
        count.more(1)
        data = unknown.data
        found[f"field_{unknown.field_number}"] = data if type(data) in {int, bytes} else None
    return found


def _repeated(field: FieldDescriptor, value: Any, count: Count, depth: int) -> Any:
    kind = field.message_type
    if kind is None or not kind.GetOptions().map_entry:
        return [_one(field, v, count, depth) for v in value]
    inner = kind.fields_by_name["value"]
    return {str(k).lower() if type(k) is bool else str(k): _one(inner, v, count, depth) for k, v in value.items()}


def _one(field: FieldDescriptor, value: Any, count: Count, depth: int) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else str(value)
    if field.message_type is None:
        return value
    name = field.message_type.full_name
    if name == "google.protobuf.Timestamp":
        return _time(value)
    if name == "google.protobuf.Duration":
        return value.seconds + value.nanos / 1_000_000_000
    return value.value if name in _WRAPPERS else _object(value, count, depth + 1)


def _time(value: Any) -> datetime:
    (found,) = times.at([Fraction(value.seconds * 1_000_000 + value.nanos // 1_000)])
    return found
