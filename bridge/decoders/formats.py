"""Every payload format by its name in the configuration, `Route.format`, with what makes its decoder for a route.

To add one: its file or folder beside this one, a line here, its name in `headrace.config.model.Format`, its page in
README.md. A decoder is imported when a route first asks for it.
"""

from collections.abc import Callable

from bridge.decoders.base import Decoder
from bridge.routing import Route
from headrace.config.model import Format
from headrace.contracts.model import Contract

Make = Callable[[Contract, int, Route], Decoder]


def _json(contract: Contract, schema_id: int, route: Route) -> Decoder:
    from bridge.decoders.json.decoder import JsonDecoder

    return JsonDecoder(contract, schema_id, route.fills)


def _value(contract: Contract, schema_id: int, route: Route) -> Decoder:
    from bridge.decoders.value import ValueDecoder

    return ValueDecoder(contract, schema_id, route.fills, route.field)


FORMATS: dict[Format, Make] = {"json": _json, "value": _value}


def decoder(contract: Contract, schema_id: int, route: Route) -> Decoder:
    """The decoder of a route, for readings of `contract` under the id that the registry gave it."""
    return FORMATS[route.format](contract, schema_id, route)
