"""What is mutated: for each format and each compression the decoder of a route, and good payloads for it."""

import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

from bridge.decoders import formats
from bridge.decoders.base import Decoder, Source
from bridge.decoders.compression import pack
from headrace.config.formats import Compression
from headrace.config.route import Format
from tests.unit import payload_formats as pf
from tests.unit import test_format_codecs as codecs
from tests.unit import test_format_columns as columns
from tests.unit import test_format_compression as compression
from tests.unit import test_format_packed as packed
from tests.unit import test_format_schemas as schemas
from tests.unit import test_format_senml as senml
from tests.unit import test_format_sparkplug as sparkplug

JSON = pf.contract(
    a=("double", {"unit": "Cel"}), n="long", on="boolean", label="string",
    seen={"type": "long", "logicalType": "timestamp-micros"},
    xs=({"type": "array", "items": "double"}, {"max_items": 8}),
    price={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    place={"type": "record", "name": "p", "fields": [{"name": "x", "type": ["null", "double"], "default": None}]},
    _extra="string",
)  # fmt: skip
ONE = {
    "event_time": "2026-03-01T10:00:00.25Z", "a": 21.5, "n": 7, "on": True, "label": "x", "price": "12.50",
    "seen": 1_772_359_200_000_000, "xs": [1, 2.5], "place": {"x": 1e-3}, "new": [None, {"k": "v"}],
}  # fmt: skip
OBJECT, LIST = json.dumps(ONE).encode(), json.dumps([ONE, {"a": "x"}, {"n": 1}]).encode()
LINES = b'event_time,a,n,on,label\n2026-03-01T10:00:00Z,21.5,7,on,"a, b"\n1,2,3,off,x\n'
OLDER_SENML = b'{"e":[{"n":"temp","v":"8"}],"bt":1422748800000,"bn":"s"}'
SAMPLES = (columns.GOOD, b'{"t0": [1, 2], "acc": {"x": [0.5, 1.5], "range": 4}}')
INNER = {
    "a": {"path": "m.v", "unit": "degF"}, "n": "m.count", "event_time": {"path": "at", "unit": "ms"},
    "label": {"topic": "{device_id}"},
}  # fmt: skip
MAPPED = b'{"at": 1795428000000, "m": {"v": 70.5, "count": 3}, "rows": [{"a": 1}, {"a": "x"}, 3], "k": [1]}'


class Case(NamedTuple):
    """A decoder with its good payloads. `pack`: makes of a mutated payload what the device would have compressed."""

    decoder: Decoder
    good: tuple[bytes, ...]
    source: Source = pf.LOOSE
    pack: Callable[[bytes], bytes] | None = None


def cases(folder: Path) -> dict[str, Case]:
    """Each by its name: a format, or a format and what is different. `folder` is for the files of schemas.

    ValueError for a format or compression without payloads here.
    """
    found: dict[str, Case] = {}
    for name in _formats():
        made = {where or name: case for where, case in _of(name, folder)}
        if not made:
            raise ValueError(f"tests/fuzz/cases.py: no good payloads for the format {name}: add them")
        found |= made
    for kind in sorted(set(get_args(Compression)) - {"none"}):
        packs = compression.KINDS if kind == "auto" else (kind,)
        if kind not in {*compression.KINDS, "auto"}:
            raise ValueError(f"tests/fuzz/cases.py: nothing packs {kind}: see KINDS of test_format_compression.py")
        good = tuple(pack(text, one) for one in packs for text in (OBJECT, LIST))
        as_sent = partial(pack, kind=packs[0])
        found[f"json, {kind}"] = Case(pf.decoder(JSON, compression=kind), (*good, LIST), pack=as_sent)
    return found


def _formats() -> list[Format]:
    return sorted({*get_args(Format), *formats.FORMATS, *formats.PARSERS})


def _of(name: str, folder: Path) -> Iterator[tuple[str, Case]]:
    """The cases of a format: one without a name, and others."""

    def case(contract: Any, *good: bytes, source: Source = pf.LOOSE, **route: Any) -> Case:
        return Case(pf.decoder(contract, format=name, **route), good, source)

    match name:
        case "json":
            keep = Source({"device_id": "d-1"}, "keep")
            yield "", case(JSON, OBJECT, LIST, source=keep, unknown_fields="keep")
            yield "json, strict", case(JSON, OBJECT, LIST, b'{"a": 1, "label": "x"}', source=pf.HERE)
            filled = Source({"device_id": "d-1", "label": "d-1"}, "ignore")
            yield "json, mapped", case(JSON, MAPPED, source=filled, fields=INNER)
            yield "json, exploded", case(JSON, MAPPED, explode="rows", unknown_fields="keep", source=keep)
        case "value":
            yield "", case(JSON, b"21.5", b"-1e3", b"NaN", b" 7 ", field="a")
            yield "value, text", case(JSON, b"on", b'"x"', "grün".encode(), field="label")
            yield "value, time", case(JSON, b"2026-03-01T10:00:00+01:00", b"1795428000", field="seen")
        case "columns":
            yield "", case(columns.CONTRACT, *SAMPLES)
        case "packed":
            yield "", case(packed.CONTRACT, packed.GOOD, packed=packed.LAYOUT)
            timed = struct.pack("<d4B", 1_700_000_000, 1, 5, 6, 7)
            yield "packed, timed", case(packed.CONTRACT, timed, timed[:-1], packed=packed.TIMED)
        case "csv":
            yield "", case(JSON, LINES, b"a\n1\n2\n")
            comma = {"columns": ["a", "n", "label"], "delimiter": ";", "decimal_comma": True}
            yield "csv, decimal comma", case(JSON, b"21,5;3;1,5\n-,5;;x", csv=comma)
        case "senml":
            yield "", case(senml.CONTRACT, senml.RECORDS, senml.CBOR, OLDER_SENML)
        case "cbor" | "msgpack":
            dump = codecs.PACK[name]
            good = dump(codecs.GOOD), dump([{"a": 1}, {"a": "x"}, codecs.GOOD])
            yield "", case(codecs.CONTRACT, *good)
        case "avro":
            yield "", Case(schemas.avro_decoder(folder), (schemas.avro(schemas.ROW),))
        case "protobuf":
            told = schemas.described(folder)
            good = schemas.filled(told).SerializeToString()
            yield "", case(schemas.CONTRACT, good, protobuf=told.model_dump())
        case "sparkplug":
            yield "", case(sparkplug.CONTRACT, sparkplug.GOOD, sparkplug={"metrics": sparkplug.NUMBERS})
            yield "sparkplug, lists", case(sparkplug.LISTS, *sparkplug.LISTED)
