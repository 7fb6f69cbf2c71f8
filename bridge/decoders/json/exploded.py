"""JSON payloads with a list of which each element is a reading, together with what is around the list."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from bridge.decoders.base import Found, Refused, Skipped, Source
from bridge.decoders.copies import MAX_BYTES, MAX_ELEMENTS, too_much, weight
from bridge.decoders.json.decoder import TOO_MANY
from bridge.decoders.json.elements import first, is_array, parse, split, too_many, trimmed
from bridge.decoders.objects import ObjectReader
from bridge.decoders.plan import elements, expand, put
from bridge.decoders.wording import not_json
from headrace.errors import PoisonError, Reason
from headrace.protocol import paths
from headrace.protocol.paths import Path

_DEEP = "nested too deeply for its readings to be told apart. Have the device send flatter objects"


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
                    raise too_much()
        except PoisonError as e:
            found = [Refused(e, payload)]
        self.ignored += self._reader.take_ignored()
        return found or [Skipped("empty")]

    def element(self, payload: bytes, index: int) -> bytes:
        """A payload with the one element of the list that became entry `index`; the whole where none can be made."""
        try:
            return next((self._alone(part) for i, part in enumerate(self._parts(payload)) if i == index), payload)
        except PoisonError:
            return payload

    def marks(self, payload: bytes) -> dict[str, Any]:
        """As `Decoder` has it: of the first element."""
        return self._reader.marks(next(expand(first(payload), self._path)))

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
        try:
            return json.dumps(put(part.found, self._path, [paths.find(self._path, part.found)])).encode()
        except RecursionError:
            raise PoisonError(Reason.MALFORMED, _DEEP) from None

    def _parts(self, payload: bytes) -> Iterator[_Part]:
        """The objects of a payload. PoisonError: it is no JSON, or has too many."""
        text = trimmed(payload)
        if too_many(text):
            raise TOO_MANY
        try:
            originals = split(text) if is_array(text) else [payload]
        except (msgspec.MsgspecError, ValueError, RecursionError) as e:
            raise not_json(payload, e) from None
        size = 0
        for original in originals:
            try:
                found = parse(trimmed(original))
            except PoisonError as e:
                yield _Part(e, original, shared=False)
                continue
            count = len(elements(found, self._path))
            if count > 1:
                size += weight(put(found, self._path, None)) * count
            if size > MAX_BYTES or count > MAX_ELEMENTS:
                raise too_much()
            for one in expand(found, self._path):
                yield _Part(one, original, shared=count > 1)
