"""Sizes: what one topic takes and the next does not, alone or in a batch."""

import random
import string
from collections.abc import Callable

import pytest

from headrace.protocol.wire import PROVENANCE, Headers, Position, Provenance
from tests.faults.own import Make, Own, marks, payload, position, until

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]
LIMIT = 65_536


def noise(size: int, seed: int = 0) -> str:
    """Text that does not compress."""
    return "".join(random.Random(seed).choices(string.printable[:94], k=size))


BIG: dict[str, Callable[[Own], tuple[bytes, bytes, Headers]]] = {  # key, value, headers
    "its value": lambda it: (b"d", it.value(1, label=noise(39_900)), marks(1)),
    "its key": lambda it: (noise(45_000).encode(), it.value(1), marks(1)),
    "as large as may be": lambda it: (b"d", it.value(1, label=noise(65_000)), marks(1)),
}


@pytest.mark.parametrize("what", BIG)
def test_a_message_that_fits_raw_but_not_clean(own: Make, what: str) -> None:
    """Refused by Kafka it would be missing between its neighbours, or stop clean for ever: it becomes a dead letter."""
    it = own(max_message_bytes=LIMIT, topics={".clean": 40_000})
    key, value, headers = BIG[what](it)
    it.fill_raw([0])
    it.produce(it.raw, [(value, headers)], key=key)
    it.fill_raw([2, 3])
    with it.clean() as clean:
        until(lambda: it.cleaned() == 4, lambda: clean.log)
        clean.stop()
    assert [m.value() for m in it.records(it.clean_topic)] == [m.value() for m in it.records(it.raw) if m.offset() != 1]
    assert [(x.source["offset"], x.text("reason"), x.value) for x in it.letters()] == [(1, "too_large", value)]


@pytest.mark.long
def test_headers_that_are_not_what_their_names_say(own: Make) -> None:
    """A foreign producer's: left out on the way, they stop neither service and take no room."""
    it = own(max_message_bytes=LIMIT, topics={".clean": 40_000})
    last = Position(0, 6, 0)
    odd: list[Headers] = [
        [(PROVENANCE, noise(45_000).encode()), ("other", noise(10_000).encode())],
        [Provenance(bytes(16), 1, noise(45_000).encode()).header()],
        [Provenance(bytes(16), -5).header()],
        [(PROVENANCE, None)],  # type: ignore[list-item]
    ]
    it.produce(it.raw, ((it.value(n), headers) for n, headers in enumerate(odd[:2])))
    it.produce(it.raw, [(it.value(2), odd[2]), (it.value(3), odd[3])])
    it.fill_raw([4, 5, 6])
    with it.clean() as clean:
        until(lambda: it.cleaned() == 7, lambda: clean.log)
        clean.stop()
    it.produce(
        it.clean_topic,
        [(it.value(7), [(PROVENANCE, None), *position(7, Position(0, 7, 0), last)])],  # type: ignore[list-item]
    )
    nothing: Headers = [(PROVENANCE, b"\1" + b"\xff" * 56)]  # too short for its flags
    it.produce(it.clean_topic, [(it.value(8), nothing)])
    with it.archive() as archive:
        until(lambda: it.archived() == len(it.records(it.clean_topic)), lambda: archive.log)
        archive.stop()
    assert it.numbers() == [0, 1, 3, 4, 5, 6, 7], "number 2 has the id of number 1, number 8 no position"


def test_a_batch_over_the_topics_limit(own: Make) -> None:
    """Each message fits, all of them in one request would not: bridge and clean send smaller batches."""
    it = own(max_message_bytes=LIMIT, topics={".clean": LIMIT}, librdkafka={"linger.ms": 500})
    with it.bridge() as bridge, it.clean() as clean, it.archive() as archive:
        bridge.says('"receiving"')
        it.publish(*(payload(n, label=noise(3_000, n)) for n in range(100)))
        until(lambda: len(it.records(it.raw)) >= 100, lambda: bridge.log)
        it.whole(range(100))
        for service in (bridge, clean, archive):
            service.stop()


@pytest.mark.long
def test_a_batch_of_dead_letters_over_their_topics_limit(own: Make) -> None:
    it = own(max_message_bytes=LIMIT, librdkafka={"linger.ms": 500})
    it.produce(it.clean_topic, ((noise(3_000, n).encode(), []) for n in range(100)))
    with it.archive() as archive:
        it.whole([])
        archive.stop()
    assert len(it.letters()) == 100


def test_large_strangers_in_clean(own: Make) -> None:
    """As large as the topic takes: each a dead letter, which is larger still."""
    it = own(max_message_bytes=1_500_000)
    it.produce(it.clean_topic, ((noise(1_510_000, n).encode(), []) for n in range(2)))
    it.fill_clean([7])
    with it.archive() as archive:
        report = it.whole([7])
        archive.stop()
    assert report["refused"] == 2
    assert [len(x.value) for x in it.letters()] == [1_510_000] * 2
