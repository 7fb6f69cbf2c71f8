"""Every payload format by its name in the configuration, `Route.format`, with what makes its decoder for a route.

To add one: its file beside this one with a `parse`, a line in PARSERS, its name in `headrace.config.route.Format`, its
section in docs/formats.md. A format that is not a list of objects has a decoder of its own, in FORMATS. Either is
imported when a route first asks for it.
"""

from collections.abc import Callable
from functools import partial

from bridge.decoders.base import Decoder
from bridge.decoders.choice import Choice
from bridge.decoders.objects import ObjectReader
from bridge.decoders.parsed import ParsedDecoder, Parser
from bridge.decoders.plan import of_route
from bridge.decoders.row import FromText
from bridge.decoders.synced import SyncDecoder, reader
from bridge.routing import Route
from headrace.config.route import Format
from headrace.contracts.model import Contract
from headrace.protocol.mediatypes import USUAL

Make = Callable[[Contract, int, Route], Decoder]


def _json(contract: Contract, schema_id: int, route: Route) -> Decoder:
    from bridge.decoders.json.decoder import JsonDecoder

    plan = of_route(route.options)
    if plan.explode:
        from bridge.decoders.json.exploded import ExplodedDecoder

        return ExplodedDecoder(_reader(contract, schema_id, route), plan.explode)
    return JsonDecoder(contract, schema_id, route.fills, route.name, plan, route.starts)


def _value(contract: Contract, schema_id: int, route: Route) -> Decoder:
    from bridge.decoders.value import ValueDecoder

    return ValueDecoder(contract, schema_id, route.fills, route.options.field, of_route(route.options).texts.zone)


def _columns(route: Route) -> Parser:
    from bridge.decoders import columns

    return columns.parser(route.options.columns, of_route(route.options).texts.zone)


def _packed(route: Route) -> Parser:
    from bridge.decoders import packed

    assert route.options.packed is not None  # the configuration has been checked
    return packed.parser(route.options.packed)


def _cbor(route: Route) -> Parser:  # noqa: ARG001 - it has no settings
    from bridge.decoders import cbor

    return cbor.PARSER


def _msgpack(route: Route) -> Parser:  # noqa: ARG001 - it has no settings
    from bridge.decoders import msgpack

    return msgpack.PARSER


def _csv(route: Route) -> Parser:
    from bridge.decoders import csv

    return csv.parser(route.options.csv)


def _senml(route: Route) -> Parser:
    from bridge.decoders import senml

    return senml.parser(route.options.senml)


def _avro(route: Route) -> Parser:
    from bridge.decoders import avro

    assert route.options.avro is not None  # the configuration has been checked
    return avro.parser(route.options.avro)


def _protobuf(route: Route) -> Parser:
    from bridge.decoders import protobuf

    assert route.options.protobuf is not None  # the configuration has been checked
    return protobuf.parser(route.options.protobuf)


def _sparkplug(contract: Contract, schema_id: int, route: Route) -> Decoder:
    from bridge.decoders.sparkplug.decoder import SparkplugDecoder

    reader = ObjectReader(contract, schema_id, route.fills, route.name, of_route(route.options))
    return SparkplugDecoder(route.options.sparkplug, reader)


FORMATS: dict[Format, Make] = {"json": _json, "value": _value, "sparkplug": _sparkplug}
PARSERS: dict[Format, Callable[[Route], Parser]] = {
    "columns": _columns,
    "packed": _packed,
    "csv": _csv,
    "senml": _senml,
    "cbor": _cbor,
    "msgpack": _msgpack,
    "avro": _avro,
    "protobuf": _protobuf,
}
_TEXTS = frozenset({"csv", "senml"})  # formats whose numbers are, or may be, text


def choice(contract: Contract, schema_id: int, route: Route) -> Choice:
    """The decoders of a route, for readings of `contract` under the id that the registry gave it."""
    if route.sync is not None and route.starts is not None:
        return Choice(SyncDecoder(route.sync, route.starts, of_route(route.options).texts.zone))
    made = {form: decoder(contract, schema_id, route, form) for form in route.options.formats}
    types = {media: made[form] for media, form in route.options.content_types.items()}
    if types:
        types = {media: made[form] for media, form in USUAL.items() if form == route.options.format} | types
    return Choice(made[route.options.format], types)


def decoder(contract: Contract, schema_id: int, route: Route, form: Format | None = None) -> Decoder:
    """The decoder of one format of a route; of `Route.format` where none is named."""
    made = _decoder(contract, schema_id, route, form or route.options.format)
    if route.options.compression == "none":
        return made
    from bridge.decoders.compression import Unpacking

    return Unpacking(made, route.options.compression)


def _decoder(contract: Contract, schema_id: int, route: Route, form: Format) -> Decoder:
    if form in FORMATS:
        return FORMATS[form](contract, schema_id, route)
    return ParsedDecoder(PARSERS[form](route), _reader(contract, schema_id, route, _from_text(route, form)))


def _reader(contract: Contract, schema_id: int, route: Route, from_text: FromText | None = None) -> ObjectReader:
    plan = of_route(route.options)
    return reader(contract, schema_id, route.fills, route.name, plan, from_text, route.starts)


def _from_text(route: Route, form: Format) -> FromText | None:
    if form not in _TEXTS:
        return None
    from bridge.decoders.value import from_text

    csv = route.options.csv if form == "csv" else None
    return partial(from_text, comma=csv is not None and csv.decimal_comma)
