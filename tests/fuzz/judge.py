"""What every payload must do: become readings or dead letters, soon, in bounded memory, and the same ones each time."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from bridge.decoders.base import Decoder, Found, Reading, Refused, Skipped, Source
from tests.fuzz.cases import Case
from tests.fuzz.mutate import payload
from tests.unit.payload_formats import NOW

T = TypeVar("T")
CPU_SECONDS = 1.0
MOST_MEMORY = 128 << 20  # bytes that a process may grow by
FEWEST = 0.02  # of the payloads that are readings, and that are dead letters: with fewer nothing is proved
_AGAIN = 3  # dead letters of one payload that are decoded again


@dataclass
class Tally:
    """What became of a decoder's payloads. `wrong`: what should not be, each with the payload's number."""

    payloads: int = 0
    readings: int = 0
    letters: int = 0
    slowest: float = 0.0  # CPU seconds
    memory: int = 0  # bytes that the process grew by
    wrong: list[str] = field(default_factory=list)

    def finish(self) -> None:
        """Look whether it was worth anything."""
        for what, count in (("readings", self.readings), ("dead letters", self.letters)):
            if count < max(1, self.payloads * FEWEST):
                self.wrong.append(f"only {count} of {self.payloads} payloads became {what}: change the good payloads")


def made(name: str, case: Case, seed: int, number: int) -> bytes:
    """A payload, by its number."""
    told = f"{seed}/{name}/{number}"
    if case.pack is None or number % 2:
        return payload(case.good, told)
    return case.pack(payload(case.good[-1:], told))  # as a device packs it: else only its checksum would be looked at


def run(name: str, case: Case, seed: int, numbers: range, begun: Callable[[int], object] = lambda _: None) -> Tally:
    """Decode the payloads with these numbers; `begun` is told each. What raises, or is refused, is in `wrong`."""
    tally = Tally()
    before = _memory()
    for number in numbers:
        begun(number)
        try:
            found, seconds = judged(case.decoder, made(name, case, seed, number), case.source)
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt):
                raise
            tally.wrong.append(f"payload {number}: {type(e).__name__}: {e}"[:500])
            continue
        tally.payloads += 1
        tally.slowest = max(tally.slowest, seconds)
        tally.readings += any(isinstance(one, Reading) for one in found)
        tally.letters += any(isinstance(one, Refused) for one in found)
        grown = _memory() - before
        if grown > MOST_MEMORY >= tally.memory:
            tally.wrong.append(f"payload {number}: the process has grown by {grown >> 20} MiB")
        tally.memory = max(tally.memory, grown)
    return tally


def judged(it: Decoder, data: bytes, source: Source) -> tuple[list[Found], float]:
    """What a payload becomes, and the CPU seconds of its slowest step. AssertionError for what must not be."""
    found, slowest = _timed("decode", lambda: it.decode(data, source, NOW))
    assert found, "it became nothing"
    assert all(isinstance(f, Reading | Refused | Skipped) for f in found), "it became something else"
    again = it.decode(data, source, NOW)
    assert [_bytes(f) for f in again] == [_bytes(f) for f in found], "it becomes something else the second time"
    slowest = max(slowest, _timed("marks", lambda: it.marks(data))[1])
    if len(found) > 1:
        letters = [(index, one) for index, one in enumerate(found) if isinstance(one, Refused)]
        for index, one in letters[:_AGAIN]:
            part, seconds = _timed("element", lambda index=index: it.element(data, index))  # type: ignore[misc]
            assert part == one.original, f"element {index} is not what the dead letter holds"
            assert isinstance(it.decode(part, source, NOW)[0], Refused), f"dead letter {index} is taken the second time"
            slowest = max(slowest, seconds)
    return found, slowest


def _timed(what: str, do: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    out = do()
    seconds = time.process_time() - began
    assert seconds < CPU_SECONDS, f"{what} takes {seconds:.1f} CPU seconds"
    return out, seconds


def _bytes(one: Found) -> object:
    return one.value if isinstance(one, Reading) else (type(one), str(one))


def _memory() -> int:
    """The most bytes that this process has had so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
