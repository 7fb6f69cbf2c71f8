"""Avro and Protocol Buffers: payloads that need a schema, which the route names."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, duration_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.message import Message

from bridge.decoders import protobuf
from bridge.decoders.base import Decoder
from headrace.config import Config, load
from headrace.config.check import problems
from headrace.config.formats import Protobuf
from headrace.config.routes import format_problems
from headrace.errors import ConfigError, Reason
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

CONTRACT = pf.contract(
    a="double", n="long", label="string", data="bytes", on="boolean",
    xs=({"type": "array", "items": "long"}, {"max_items": 8}), color="string",
    place={"type": "record", "name": "p", "fields": [{"name": "x", "type": "double"}]},
)  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "record", "name": "m", "fields": [
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "a", "type": "float"}, {"name": "n", "type": ["null", "int"]}, {"name": "label", "type": "string"},
        {"name": "data", "type": "bytes"}, {"name": "xs", "type": {"type": "array", "items": "int"}},
        {"name": "color", "type": {"type": "enum", "name": "k", "symbols": ["BLUE", "RED"]}},
        {"name": "place", "type": {"type": "record", "name": "q", "fields": [{"name": "x", "type": "double"}]}},
    ],
}  # fmt: skip
ROW = {
    "event_time": 1_772_359_200_000, "a": 1.5, "n": None, "label": "x", "data": b"\1", "xs": [1, -2], "color": "RED",
    "place": {"x": 0.5},
}  # fmt: skip
F = descriptor_pb2.FieldDescriptorProto


def avro(row: dict[str, Any], schema: Any = SCHEMA) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, row)
    return out.getvalue()


def avro_decoder(folder: Path, **told: Any) -> Decoder:
    (folder / "m.avsc").write_text(json.dumps(SCHEMA))
    settings = told or {"file": folder / "m.avsc"}
    return pf.decoder(CONTRACT, format="avro", avro=settings)


def test_avro_of_the_specification(tmp_path: Path) -> None:
    # Avro 1.12, "Complex Types: Records": {"a": 27, "b": "foo"} is 36 06 66 6f 6f
    schema = {
        "type": "record",
        "name": "t",
        "fields": [{"name": "n", "type": "long"}, {"name": "label", "type": "string"}],
    }
    (tmp_path / "t.avsc").write_text(json.dumps(schema))
    it = pf.decoder(CONTRACT, format="avro", avro={"file": tmp_path / "t.avsc"})
    assert pf.rows(CONTRACT, it.decode(bytes.fromhex("3606666f6f"), HERE, NOW)) == [
        {"event_time": NOW, "n": 27, "label": "foo"}
    ]


def test_avro_datums_are_read_by_the_writers_schema(tmp_path: Path) -> None:
    expected = {k: v for k, v in ROW.items() if v is not None} | {"event_time": 1_772_359_200_000_000}
    assert pf.rows(CONTRACT, avro_decoder(tmp_path).decode(avro(ROW), HERE, NOW)) == [expected]
    framed = avro_decoder(tmp_path, ids={7: tmp_path / "m.avsc"})
    assert pf.rows(CONTRACT, framed.decode(b"\0\0\0\0\7" + avro(ROW), HERE, NOW)) == [expected]
    error = pf.refusal(framed, b"\0\0\0\0\x08" + avro(ROW))
    assert error.reason is Reason.UNKNOWN_SCHEMA
    assert "no schema for the id 8. Add it to `avro.ids`" in str(error)
    assert "Confluent's five bytes are missing" in str(pf.refusal(framed, b"\1" + avro(ROW)))


def test_avro_that_is_not_of_the_schema_is_refused_whole(tmp_path: Path) -> None:
    it = avro_decoder(tmp_path)
    assert "bytes after the end" in str(pf.refusal(it, avro(ROW) + b"\0"))
    assert pf.refusal(it, avro(ROW)[:-1]).reason is Reason.MALFORMED
    assert pf.refusal(it, b"").reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("{", "not JSON. An Avro schema is expected"),
        ('["null"]', "an Avro schema of a record is expected"),
        (
            '{"type": "record", "name": "m", "fields": [{"name": "x", "type": {"type": "array", "items": "m"}}]}',
            "contains itself",
        ),
    ],
)
def test_a_schema_that_can_not_be_used_is_told_with_its_file(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "x.avsc").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.avsc: ") as e:
        pf.decoder(CONTRACT, format="avro", avro={"file": tmp_path / "x.avsc"})
    assert words in str(e.value)


def test_avro_has_one_way_to_find_its_schema() -> None:
    for settings in ({}, {"file": "x", "ids": {1: "y"}}):
        with pytest.raises(ValueError, match="give file, for datums without anything before them, or ids"):
            pf.decoder(CONTRACT, format="avro", avro=settings)


def described(folder: Path) -> Protobuf:
    """A message with every kind of field that matters, as protoc describes it."""
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="maker", syntax="proto3")
    files = descriptor_pb2.FileDescriptorSet()
    for module in (timestamp_pb2, duration_pb2, wrappers_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
        file.dependency.append(module.DESCRIPTOR.name)
    kind = file.enum_type.add(name="Color")
    kind.value.add(name="RED", number=0)
    kind.value.add(name="BLUE", number=1)
    file.message_type.add(name="Place").field.add(name="x", number=1, type=F.TYPE_DOUBLE, label=1)
    message = file.message_type.add(name="Reading")
    known = ".google.protobuf."
    fields: list[tuple[str, Any, str, int]] = [
        ("event_time", F.TYPE_MESSAGE, f"{known}Timestamp", 1),
        ("a", F.TYPE_MESSAGE, f"{known}DoubleValue", 1),
        ("n", F.TYPE_SINT64, "", 1),
        ("label", F.TYPE_STRING, "", 1),
        ("data", F.TYPE_BYTES, "", 1),
        ("on", F.TYPE_BOOL, "", 1),
        ("xs", F.TYPE_SINT32, "", 3),
        ("color", F.TYPE_ENUM, ".maker.Color", 1),
        ("place", F.TYPE_MESSAGE, ".maker.Place", 1),
        ("late", F.TYPE_MESSAGE, f"{known}Duration", 1),
        ("places", F.TYPE_MESSAGE, ".maker.Place", 3),
    ]
    for number, (name, of, type_name, label) in enumerate(fields, 1):
        message.field.add(name=name, number=number, type=of, type_name=type_name or None, label=label)
    files.file.append(file)
    (folder / "m.desc").write_bytes(files.SerializeToString())
    return Protobuf(descriptor=folder / "m.desc", message="maker.Reading")


def filled(settings: Protobuf) -> Message:
    message: Any = protobuf.message_type(settings)()
    message.event_time.seconds, message.event_time.nanos = 1_772_359_200, 1_999
    message.a.value, message.n, message.label, message.data, message.color = 1.5, -3, "x", b"\1", 1
    message.xs.extend([1, -2])
    message.place.x = 0.5
    return message


def test_protobuf_messages_are_read_by_their_descriptor(tmp_path: Path) -> None:
    settings = described(tmp_path)
    it = pf.decoder(CONTRACT, format="protobuf", protobuf=settings.model_dump())
    expected = {
        "event_time": 1_772_359_200_000_001, "a": 1.5, "n": -3, "label": "x", "data": b"\1", "on": False, "xs": [1, -2],
        "color": "BLUE", "place": {"x": 0.5},
    }  # fmt: skip
    assert pf.rows(CONTRACT, it.decode(filled(settings).SerializeToString(), pf.LOOSE, NOW)) == [expected]


def test_protobuf_of_the_specification(tmp_path: Path) -> None:
    # protobuf.dev/programming-guides/encoding: int32 150 is 96 01, the string "testing" is 12 07 74 65 73 74 69 6e 67
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    message = file.message_type.add(name="Test")
    message.field.add(name="n", number=1, type=F.TYPE_INT32, label=1)
    message.field.add(name="label", number=2, type=F.TYPE_STRING, label=1)
    (tmp_path / "t.desc").write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    it = pf.decoder(CONTRACT, format="protobuf", protobuf={"descriptor": tmp_path / "t.desc", "message": "t.Test"})
    payload = bytes.fromhex("089601 120774657374696e67")
    assert pf.rows(CONTRACT, it.decode(payload, HERE, NOW)) == [{"event_time": NOW, "n": 150, "label": "testing"}]
    error = pf.refusal(it, payload + bytes.fromhex("3807"))
    assert (error.reason, error.field) == (Reason.UNKNOWN_FIELD, "field_7")
    assert pf.refusal(it, payload[:-1]).reason is Reason.MALFORMED


def test_a_descriptor_that_can_not_be_used_is_told_with_its_file(tmp_path: Path) -> None:
    good = described(tmp_path)
    with pytest.raises(ConfigError, match=r"m\.desc: no message maker\.Other\. There are .*maker\.Reading"):
        protobuf.parser(good.model_copy(update={"message": "maker.Other"}))
    (tmp_path / "bad.desc").write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match=r"bad\.desc: no descriptor set, or an import is missing"):
        protobuf.parser(good.model_copy(update={"descriptor": tmp_path / "bad.desc"}))
    with pytest.raises(ConfigError, match="No such file"):
        protobuf.parser(good.model_copy(update={"descriptor": tmp_path / "none.desc"}))


def test_many_small_parts_are_refused_and_take_no_time(tmp_path: Path) -> None:
    it = pf.decoder(CONTRACT, format="protobuf", protobuf=described(tmp_path).model_dump())
    assert pf.refusal(it, bytes.fromhex("5a00") * 2**20).reason is Reason.TOO_LARGE


def test_paths_of_a_route_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "streams: {imu: {routes: ['x/{device_id}', {filter: 'a/{device_id}', format: avro, avro: {ids: {7: m.avsc}}},"
        " {filter: 'b/{device_id}', format: protobuf, protobuf: {descriptor: d/m.desc, message: m}}]}}"
    )
    _, first, second = load(tmp_path / "c.yaml", {}).streams["imu"].routes
    assert first.avro is not None
    assert second.protobuf is not None
    assert first.avro.ids == {7: tmp_path / "m.avsc"}
    assert second.protobuf.descriptor == tmp_path / "d/m.desc"


def test_the_configuration_check_names_files_that_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "x.avsc").write_text("{")
    routes = [
        {"filter": "a/{device_id}", "format": "avro", "avro": {"file": tmp_path / "x.avsc"}},
        {
            "filter": "b/{device_id}",
            "format": "protobuf",
            "protobuf": {"descriptor": tmp_path / "x.desc", "message": "m"},
        },
    ]
    config = Config.model_validate({"streams": {"imu": {"routes": routes}}})
    assert list(format_problems(config)) == [
        f"streams.imu.routes[0].avro: {tmp_path}/x.avsc: not JSON. An Avro schema is expected",
        f"streams.imu.routes[1].protobuf: {tmp_path}/x.desc: no such file. Write it with protoc",
    ]
    assert set(format_problems(config)) <= set(problems(config))
