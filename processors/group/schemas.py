"""What a processor makes of a schema, kept by the schema id that messages carry."""

from collections.abc import Callable
from typing import Generic, TypeVar

from headrace.errors import ConfigError, PoisonError, Reason

T = TypeVar("T")


class Schemas(Generic[T]):
    """What `make(schema id, schema text)` returns, made once for each text. Any thread may use it.

    `text(schema id)` asks the registry. What the registry does not have is asked for again each time: it may be there
    later. A schema that `make` refuses with a PoisonError or a ConfigError is remembered as refused.
    """

    def __init__(self, text: Callable[[int], str], make: Callable[[int, str], T]) -> None:
        self._text, self._make = text, make
        self._made: dict[int, T] = {}
        self._by_text: dict[str, T] = {}
        self._refused: dict[int, str] = {}

    def get(self, schema_id: int) -> T:
        """What was made of the schema.

        PoisonError UNKNOWN_SCHEMA if the registry has no such schema, or one of no use; TransientError while the
        registry is away.
        """
        found = self._made.get(schema_id)
        if found is not None:
            return found
        if schema_id in self._refused:
            raise PoisonError(Reason.UNKNOWN_SCHEMA, self._refused[schema_id], value=str(schema_id))
        text = self._text(schema_id)
        try:
            made = self._by_text.get(text) or self._make(schema_id, text)
        except (ConfigError, PoisonError) as e:
            self._refused[schema_id] = str(e)
            raise PoisonError(Reason.UNKNOWN_SCHEMA, str(e), value=str(schema_id)) from e
        self._made[schema_id] = self._by_text[text] = made
        return made
