"""What clean needs to know of a schema id: how its readings are read, and their contract's rules."""

from collections.abc import Callable
from typing import NamedTuple

from headrace.contracts.model import parse
from headrace.errors import ConfigError, PoisonError, Reason
from processors.columns import Codec, codec
from processors.rules import Rules


class Known(NamedTuple):
    """A schema that is a contract."""

    codec: Codec
    rules: Rules


class Schemas:
    """Contracts by schema id, each asked for once. `text` is a registry's `schema_text`."""

    def __init__(self, text: Callable[[int], str]) -> None:
        self._text = text
        self._known: dict[int, Known | str] = {}

    def get(self, schema_id: int) -> Known:
        """The contract of the id.

        PoisonError UNKNOWN_SCHEMA where the registry has none, or one that is no contract; TransientError while the
        registry is away.
        """
        found = self._known.get(schema_id)
        if found is None:
            text = self._text(schema_id)  # what is not there may be there later: not remembered here
            try:
                contract = parse(f"schema-{schema_id}", text, f"schema {schema_id}")
                found = Known(codec(contract), Rules(contract))
            except ConfigError as e:
                found = str(e)
            self._known[schema_id] = found
        if isinstance(found, str):
            raise PoisonError(Reason.UNKNOWN_SCHEMA, f"the schema is no contract: {found}", value=str(schema_id))
        return found
