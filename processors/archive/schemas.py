"""Schemas by the id that a message carries, ready to decode with."""

from collections.abc import Callable
from typing import Any

import orjson

from headrace.errors import ConfigError, PoisonError, Reason
from processors.columns import Codec, codec

PROVENANCE = (
    "_topic",
    "_partition",
    "_offset",
    "_kafka_time",
    "_src_epoch",
    "_src_offset",
    "_src_index",
    "_event_id",
    "_received_at",
)


class Schemas:
    """What `lookup(schema id) -> schema text` finds, parsed once. Any thread may use it."""

    def __init__(self, lookup: Callable[[int], str]) -> None:
        self._lookup = lookup
        self._known: dict[int, Codec] = {}

    def codec(self, schema_id: int) -> Codec:
        """The reader of a schema. PoisonError where there is no such schema, or none that can be a table."""
        found = self._known.get(schema_id)
        if found is None:
            found = self._known[schema_id] = _make(schema_id, self._lookup(schema_id))
        return found


def _make(schema_id: int, text: str) -> Codec:
    try:
        schema: Any = orjson.loads(text)
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {schema_id} is not a record")
        clash = sorted({f["name"] for f in schema["fields"]} & set(PROVENANCE))
        if clash:
            raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {schema_id}: {', '.join(clash)} is the lake's own column")
        return codec(schema)
    except (ConfigError, ValueError, KeyError, TypeError) as e:
        raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {schema_id} can't be a table: {e}") from e
