"""Sparkplug B payloads (Sparkplug 3.0, chapter 6) to an object for each time: a key for each metric.

What a message does not say of its metrics, the name of an alias and the type of a number, the route says, or the birth
that its bridge has heard. The decoder remembers nothing itself.
"""

from collections.abc import Sequence
from typing import Any

from bridge.decoders import times
from bridge.decoders.base import Births, Source
from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.objects import ObjectReader
from bridge.decoders.parsed import ParsedDecoder, Parser
from bridge.decoders.sparkplug import payload as payloads
from bridge.decoders.sparkplug.values import TYPES, Values
from headrace.config.formats import SPARKPLUG_TYPES, Sparkplug
from headrace.errors import PoisonError, Reason

_NOT_READINGS = ("bdSeq", "Node Control/", "Device Control/")  # of the session, and commands
_UNHEARD = (
    "The bridge does not know the birth that names it, and asks the edge node for one (bridge.rebirth_seconds): what "
    "comes then are readings. To have this one too, name the alias"
)
_NO_BIRTHS = "Births are not known here. Name it"


class SparkplugDecoder(ParsedDecoder):
    """A `Decoder` of Sparkplug B with these metrics."""

    def __init__(self, settings: Sparkplug | None, reader: ObjectReader) -> None:
        self._settings = settings or Sparkplug()
        super().__init__(Parser(lambda payload: parse(payload, self._settings)), reader)

    def objects(self, payload: bytes, source: Source) -> Sequence[dict[str, Any] | PoisonError]:
        """As `ParsedDecoder` has it, with what births say."""
        return parse(payload, self._settings, source.births)


def parse(payload: bytes, settings: Sparkplug, births: Births | None = None) -> list[dict[str, Any]]:
    """The objects of a payload: of metrics that have the same time, one. PoisonError: it is no such payload."""
    message = payloads.read(payload)
    rows: list[dict[str, Any]] = []
    latest: dict[int | None, dict[str, Any]] = {}
    values = Values()
    for metric in message.metrics:
        if not isinstance(metric.name, str):  # the codec gives bytes where it is no UTF-8
            raise PoisonError(Reason.MALFORMED, "a metric's name is no text in UTF-8. Have the device send UTF-8")
        name, known = _named(metric, settings, births)
        if name.startswith(_NOT_READINGS) or metric.template_value.is_definition:
            continue
        field, kind, said_as = _meaning(metric, name, known, settings)
        sent = next((m.timestamp for m in (metric, message) if m.HasField("timestamp")), None)
        row = latest.get(sent)
        if row is None or field in row:
            row = latest[sent] = {} if sent is None else {"event_time": times.at([sent * 1_000])[0]}
            rows.append(row)
            if len(rows) > MAX_ELEMENTS:
                raise PoisonError(Reason.TOO_LARGE, f"more than {MAX_ELEMENTS:,} times in one message")
        row[field] = None if metric.is_null else values.of(metric, field[:80], kind, said_as)
    return rows


def _named(metric: Any, settings: Sparkplug, births: Births | None) -> tuple[str, int]:
    """(a metric's name, its type as births say it); '' and 0 where nobody says it. PoisonError: an unknown alias.

    What the route says of an alias comes before what births say.
    """
    key: int | str = metric.name or metric.alias
    known = births.get(key) if births else None
    if metric.name:
        return metric.name, known.type if known else 0
    if str(metric.alias) in settings.metrics and metric.HasField("alias"):
        return "", known.type if known else 0
    if known is not None and metric.HasField("alias"):
        return known
    if not metric.HasField("alias"):
        raise PoisonError(Reason.UNKNOWN_ALIAS, "a metric has neither name nor alias. Have the device send one of them")
    words = (
        f"the alias {metric.alias} has no name in this message. {_NO_BIRTHS if births is None else _UNHEARD} in the "
        f"route, as the birth does: `sparkplug: {{metrics: {{{metric.alias}: {{field: ..., type: ...}}}}}}`"
    )
    raise PoisonError(Reason.UNKNOWN_ALIAS, words, value=str(metric.alias))


def _meaning(metric: Any, name: str, known: int, settings: Sparkplug) -> tuple[str, str, str]:
    """(the field of a metric, its type, '' where nobody says it, its key in the route)."""
    said_as = name or str(metric.alias)
    told = settings.metrics.get(said_as)
    field = told.field if told is not None else name
    if metric.HasField("datatype"):
        kind = TYPES.get(metric.datatype)
        if kind is None:
            words = f"{field[:80]}: the type {metric.datatype} can't be read. Types are {', '.join(SPARKPLUG_TYPES)}"
            raise PoisonError(Reason.WRONG_TYPE, words, field=field[:80])
        return field, kind, said_as[:80]
    return field, (told.type if told is not None else None) or TYPES.get(known, ""), said_as[:80]
