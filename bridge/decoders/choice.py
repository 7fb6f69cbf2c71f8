"""A route's decoders, and which of them reads a message: by the message's content type."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from bridge.decoders.base import Decoder, Found, Refused, Skipped, Source
from headrace.errors import PoisonError, Reason
from headrace.protocol import mediatypes


class Settled:
    """A decoder that reads no payload, since it is known already that none can become a reading."""

    def __init__(self, answer: Callable[[bytes], Found]) -> None:
        self.ignored = 0
        self._answer = answer

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:  # noqa: ARG002 - whatever it is
        """The answer."""
        return [self._answer(payload)]

    def element(self, payload: bytes, index: int) -> bytes:  # noqa: ARG002 - there is one
        """The whole payload."""
        return payload

    def marks(self, payload: bytes) -> Mapping[str, str]:  # noqa: ARG002 - nothing was read
        """Nothing."""
        return {}


def refusing(error: PoisonError) -> Settled:
    """The decoder that refuses every payload, whole."""
    return Settled(lambda payload: Refused(error, payload))


def passing(why: str) -> Settled:
    """The decoder that passes over every payload, and counts it."""
    return Settled(lambda _: Skipped(why))


class Choice:
    """The decoders of one route. `plain`: of messages without a content type, and of all where it has `by_type` none.

    `by_type`: the others, by content types as `mediatypes.essence` gives them.
    """

    def __init__(self, plain: Decoder, by_type: Mapping[str, Decoder] = MappingProxyType({})) -> None:
        self._plain, self._by_type = plain, by_type

    def of(self, content_type: str) -> Decoder:
        """The decoder of messages of a content type, as `mediatypes.essence` gives it; "": none."""
        if not content_type or not self._by_type:
            return self._plain
        return self._by_type.get(content_type) or refusing(_unknown(content_type, sorted(self._by_type)))


def _unknown(content_type: str, known: list[str]) -> PoisonError:
    name = content_type[:80]
    meant = mediatypes.guess(content_type) or "FORMAT"
    words = (
        f"the route has no format for the content type {name!r}. It has {', '.join(known)[:200]}. Add "
        f"content_types: {{{name}: {meant}}}, or have the device send one of those"
    )
    return PoisonError(Reason.MALFORMED, words, value=name)
