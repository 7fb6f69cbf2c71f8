"""A configuration of one route with a mapping, and what its decoder makes of payloads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge import routing
from bridge.decoders import formats
from bridge.decoders.base import Found, Reading, Refused, Source
from headrace.config import Config
from headrace.config.routes import contract_problems
from headrace.contracts.model import Contract, parse
from tests.unit.test_bridge_decode import read

NOW = 1_795_428_100_000_000
FIRST = 946_684_800_000_000
BASE: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string", "doc": "d"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "t", "minimum": FIRST},
]
ENDS = [
    {"name": "_extra", "type": ["null", "string"], "default": None},
    {"name": "_quality", "type": ["null", "string"], "default": None},
]


def field(name: str, kind: Any = "double", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "default": None, "doc": "x", **more}


class World:
    """A configuration of one route, with its decoder."""

    def __init__(self, folder: Path, route: dict[str, Any], *fields: dict[str, Any]) -> None:
        text = json.dumps({"type": "record", "name": "it", "doc": "it", "fields": [*BASE, *fields, *ENDS]})
        (folder / "it.avsc").write_text(text, encoding="utf-8")
        self.config = Config.model_validate({"contracts": [str(folder)], "streams": {"it": {"routes": [route]}}})
        self.problems = list(contract_problems(self.config))
        self.contract: Contract = parse("it", text)

    def found(self, topic: str, payload: bytes, now: int = NOW) -> list[Found]:
        assert self.problems == []
        (target,) = routing.build(self.config).match(topic).targets
        assert target.refused is None
        self.decoder = formats.decoder(self.contract, 7, target.route)
        return self.decoder.decode(payload, Source(target.captures, target.route.options.unknown_fields), now)

    def rows(self, topic: str, payload: Any) -> list[Any]:
        text = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        out: list[Any] = []
        for one in self.found(topic, text):
            if isinstance(one, Refused):
                out.append((one.error.reason, one.error.field, str(one.error), one.original))
            elif isinstance(one, Reading):
                out.append({k: v for k, v in read(self.contract, one.value).items() if v is not None})
        return out


Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path) -> Make:
    return lambda route, *fields: World(tmp_path, route, *fields)
