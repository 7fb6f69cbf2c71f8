"""A reading that was written with an earlier contract, rewritten with the present one by Avro's schema resolution."""

import io
from collections.abc import Callable
from typing import Any

import fastavro
from fastavro.read import SchemaResolutionError

from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol.wire import FRAME_BYTES, NOT_AVRO, frame, schema_id


class Resolver:
    """Rewrites framed readings with one contract. `present`: its schema id. `text`: the registry's `schema_text`.

    Clean judges a reading by the rules of the schema whose id it carries. To be judged by the present rules, a reading
    must carry the present schema's id.
    """

    def __init__(self, contract: Contract, present: int, text: Callable[[int], str]) -> None:
        self._name, self._present, self._text = contract.name, present, text
        self._reader = parsed(contract)
        self._writers: dict[int, Any] = {}

    def resolve(self, value: bytes) -> tuple[str, bytes]:
        """(device id, the reading framed with the present schema id).

        PoisonError: the bytes are no reading of their schema, or the present contract can't read it. TransientError:
        the registry is away.
        """
        number = schema_id(value)
        if number not in self._writers:
            try:
                self._writers[number] = parsed(parse(f"schema-{number}", self._text(number), f"schema {number}"))
            except ConfigError as e:
                raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {number} is not a contract: {e}") from None
        body, out = io.BytesIO(value[FRAME_BYTES:]), io.BytesIO()
        try:
            row: Any = fastavro.schemaless_reader(body, self._writers[number], self._reader)
            if body.read(1):
                raise PoisonError(Reason.MALFORMED, "bytes follow the reading")
            fastavro.schemaless_writer(out, self._reader, row)
        except PoisonError:
            raise
        except SchemaResolutionError as e:
            why = f"the contract {self._name} can't read what schema {number} wrote: {e}"
            raise PoisonError(Reason.WRONG_TYPE, why) from None
        except Exception:  # noqa: BLE001 - fastavro raises whatever the bytes lead it to
            raise PoisonError(Reason.MALFORMED, NOT_AVRO) from None
        return str(row["device_id"]), frame(self._present, out.getvalue())


def parsed(contract: Contract) -> Any:
    """The contract's schema for fastavro, whose values are as stored."""
    return fastavro.parse_schema(_plain(contract.schema))


def _plain(schema: Any) -> Any:
    """The schema without logical types: values pass as stored, also dates outside the calendar."""
    if isinstance(schema, list):
        return [_plain(s) for s in schema]
    if isinstance(schema, dict):
        return {k: v if k == "default" else _plain(v) for k, v in schema.items() if k != "logicalType"}
    return schema
