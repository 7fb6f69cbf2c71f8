"""Times that count from the device's start: sync messages, which say when that was, and readings, which need it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

from bridge.decoders import times
from bridge.decoders.base import Found, Reading, Refused, Skipped, Source
from bridge.decoders.json.elements import parse, trimmed
from bridge.decoders.objects import ObjectReader
from bridge.decoders.plan import Plan
from bridge.decoders.row import FromText, of_texts
from bridge.decoders.wording import missing
from bridge.starts import Starts
from headrace.config.sync import Sync
from headrace.contracts.model import Contract
from headrace.errors import PoisonError, Reason
from headrace.protocol import paths
from headrace.protocol.devicenames import Naming
from headrace.protocol.names import DEVICE, TIME

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = Fraction(20 * 366 * 86_400 * 1_000_000)  # microseconds: nothing runs for so long
_NUMBER = re.compile(r"\d{1,19}(?:\.\d{1,19})?", re.ASCII)
_LONGEST_ID = 128  # characters of a boot id
_EARLIEST = 946_684_800_000_000  # 2000-01-01: a clock that was never set says 1970
_AHEAD = 86_400_000_000  # microseconds: a start in the far future would push true ones out, and give readings its time
_NO_BOOT = (
    "is missing, and the time counts from the device's start: have it send with each reading which start that was"
)


class SyncDecoder:
    """A `Decoder` of sync messages, of which nothing comes but what `starts` knows then. `zone`: as in the route."""

    def __init__(self, sync: Sync, starts: Starts, zone: tzinfo) -> None:
        self.ignored = 0
        self._sync, self._starts, self._zone = sync, starts, zone

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """Nothing, once it is taken; or the payload, refused."""
        try:
            self._take(payload, source.captures[DEVICE], received)
        except PoisonError as e:
            return [Refused(e, payload)]
        return [Skipped("sync")]

    def element(self, payload: bytes, index: int) -> bytes:  # noqa: ARG002 - there is one
        """The whole payload."""
        return payload

    def marks(self, payload: bytes) -> Mapping[str, Any]:  # noqa: ARG002 - it is no reading
        """Nothing."""
        return {}

    def _take(self, payload: bytes, device: str, received: int) -> None:
        sync, found = self._sync, parse(trimmed(payload))
        boot = paths.find(paths.parse(sync.boot, "boot"), found)
        if not (type(boot) is int and abs(boot) < 2**64) and not (type(boot) is str and 0 < len(boot) <= _LONGEST_ID):
            words = f"{sync.boot}: text or a whole number expected that tells this start of the device from others"
            raise PoisonError(Reason.WRONG_TYPE, words, field=sync.boot)
        uptime = _since_start(sync.uptime, _there(found, sync.uptime), sync.unit)
        moment = times.instant(sync.time, _there(found, sync.time), sync.time_unit, self._zone)
        times.at([moment])
        if moment < _EARLIEST:
            words = (
                f"{sync.time}: before the year 2000. Send a sync message when the time is known, or correct time_unit"
            )
            raise PoisonError(Reason.OUT_OF_RANGE, words, field=sync.time)
        if moment > received + _AHEAD:
            words = f"{sync.time}: more than a day after the message came. Correct the device's clock, or time_unit"
            raise PoisonError(Reason.OUT_OF_RANGE, words, field=sync.time)
        self._starts.put(device, str(boot), int(moment - uptime))


class SyncedReader(ObjectReader):
    """An `ObjectReader` of objects whose `event_time` counts from the device's start: a number, or a time in 1970."""

    def __init__(
        self,
        contract: Contract,
        schema_id: int,
        captures: Sequence[str],
        name: Naming,
        plan: Plan,
        from_text: FromText | None,
        starts: Starts,
    ) -> None:
        super().__init__(contract, schema_id, captures, name, plan, from_text)
        self._starts = starts
        self._boot, self._boot_name = next((i, f.name) for i, f in enumerate(contract.fields) if f.role == "boot")
        time, source = contract.field(TIME), plan.sources.get(TIME)
        self._unit = (source.unit if source is not None else "") or time.time_unit
        self._in_utc = self._read_time
        self._read_time = of_texts(self._of_uptime, time, source, from_text)
        self._at_hand: list[Any] = []

    def finish(self, values: list[Any], source: Source, received: int) -> Reading:
        """As `ObjectReader` has it."""
        self._at_hand = values  # device and boot id are in it, once the time is read
        return super().finish(values, source, received)

    def finish_all(self, rows: Iterable[list[Any]], source: Source, received: int) -> list[Reading]:
        """As `ObjectReader` has it."""
        return [self.finish(values, source, received) for values in rows]

    def _of_uptime(self, value: Any) -> Any:
        uptime = _since_start(TIME, value, self._unit)
        device, boot = self._at_hand[self._device], self._at_hand[self._boot]
        if boot is None:
            raise missing(self._boot_name, _NO_BOOT)
        start = self._starts.of(device, str(boot))
        if start is None:
            newest = self._starts.newest(device)
            known = f"the latest that is known is {newest[:80]!r}" if newest else "none of its starts is known"
            words = (
                f"{TIME}: no sync message has said when {device} was started for {self._boot_name} {str(boot)[:80]!r}; "
                f"{known}. Have it publish one, retained, and redrive"
            )
            raise PoisonError(Reason.NO_SYNC, words, field=TIME)
        return self._in_utc(times.at([start + int(uptime)])[0])


def reader(
    contract: Contract,
    schema_id: int,
    captures: Sequence[str],
    name: Naming,
    plan: Plan,
    from_text: FromText | None = None,
    starts: Starts | None = None,
) -> ObjectReader:
    """What reads the objects of a route. `starts`: where its times count from the device's start."""
    if starts is None:
        return ObjectReader(contract, schema_id, captures, name, plan, from_text)
    return SyncedReader(contract, schema_id, captures, name, plan, from_text, starts)


def _there(found: Mapping[str, Any], path: str) -> Any:
    value = paths.find(paths.parse(path, path), found)
    if value is None:
        raise missing(path, "is missing in the sync message")
    return value


def _since_start(name: str, value: Any, unit: str) -> Fraction:
    """Microseconds since a device's start. PoisonError for what can't be such a time."""
    if type(value) is datetime:  # of a format that makes times of numbers
        found = Fraction((value - _EPOCH) // _MICROSECOND)
    else:
        number = Decimal(value) if type(value) is str and _NUMBER.fullmatch(value) else value
        found = times.exact(name, number) * times.MICROSECONDS[unit]
    if not 0 <= found < _LONGEST:
        words = f"{name}: {float(found / 1_000_000):.0f} s since the device's start can't be"
        hint = "Is the unit right? Or is it a time since 1970? Then leave `sync` out of the route"
        raise PoisonError(Reason.OUT_OF_RANGE, f"{words}. {hint}", field=name)
    return found
