"""JSON payloads with a list of which each element is a reading, together with what is around the list."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from bridge.decoders.base import Found, Refused, Skipped, Source
from bridge.decoders.json.decoder import TOO_MANY, parse
from bridge.decoders.json.elements import MAX_ELEMENTS, first, is_array, split, too_many, trimmed
from bridge.decoders.objects import ObjectReader
from bridge.decoders.plan import expand, put
from bridge.decoders.wording import not_json
from headrace.errors import PoisonError, Reason
from headrace.protocol import paths
from headrace.protocol.paths import Path

MAX_BYTES = 64 * 1024 * 1024  # of all that a payload becomes: each of its readings has what is around the list


class _Part(NamedTuple):
    """An object of a payload: the bytes that it came in, and whether these have others too."""

    found: dict[str, Any] | PoisonError
    original: bytes
    shared: bool


class ExplodedDecoder:
    """A `Decoder` of payloads whose list at `path` is exploded. `reader` reads objects with an element in its place."""

    def __init__(self, reader: ObjectReader, path: Path) -> None:
        self.ignored = 0
        self._reader = reader
        self._path = path

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """As `Decoder` has it: an entry for each element of the list, and for an object without one."""
        found: list[Found] = []
        size = 0
        try:
            for part in self._parts(payload):
                one = self._one(part, source, received)
                size += len(one.original if isinstance(one, Refused) else one.value)  # type: ignore[union-attr]
                found.append(one)
                if size > MAX_BYTES or len(found) > MAX_ELEMENTS:
                    words = f"more than {MAX_ELEMENTS:,} readings, or {MAX_BYTES:,} bytes of them: send fewer at once"
                    raise PoisonError(Reason.TOO_LARGE, words)
        except PoisonError as e:
            found = [Refused(e, payload)]
        self.ignored += self._reader.take_ignored()
        return found or [Skipped("empty")]

    def element(self, payload: bytes, index: int) -> bytes:
        """A payload with the one element of the list that became entry `index`."""
        for i, part in enumerate(self._parts(payload)):
            if i == index:
                return self._alone(part)
        return payload

    def marks(self, payload: bytes) -> dict[str, Any]:
        """As `Decoder` has it: of the first element."""
        return self._reader.marks(expand(first(payload), self._path)[0])

    def _one(self, part: _Part, source: Source, received: int) -> Found:
        try:
            if isinstance(part.found, PoisonError):
                raise part.found
            return self._reader.read(part.found, source, received)
        except PoisonError as e:
            return Refused(e, self._alone(part))

    def _alone(self, part: _Part) -> bytes:
        if not part.shared or isinstance(part.found, PoisonError):
            return part.original
        return json.dumps(put(part.found, self._path, [paths.find(self._path, part.found)])).encode()

    def _parts(self, payload: bytes) -> Iterator[_Part]:
        """The objects of a payload. PoisonError: it is no JSON, or has too many."""
        text = trimmed(payload)
        if too_many(text):
            raise TOO_MANY
        try:
            elements = split(text) if is_array(text) else [payload]
        except (msgspec.MsgspecError, ValueError, RecursionError) as e:
            raise not_json(payload, e) from None
        for original in elements:
            try:
                objects = expand(parse(trimmed(original)), self._path)
            except PoisonError as e:
                yield _Part(e, original, shared=False)
                continue
            for one in objects:
                yield _Part(one, original, shared=len(objects) > 1)
