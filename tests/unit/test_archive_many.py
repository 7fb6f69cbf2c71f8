"""Many partitions of two archivers, whose commits go together: each position of each is in exactly one file."""

import io
import random

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.model import Archive
from headrace.kafka import headers_of
from processors.group.token import Partition
from tests.profiles import examples
from tests.unit.archive_rows import TOPIC, number_of
from tests.unit.archive_world import SOURCES, Crash, Process, World
from tests.unit.toy_kafka import Log, offset

PARTITIONS: list[Partition] = [(TOPIC, n) for n in range(4)]


def world_of_many(rnd: random.Random) -> World:
    """A world in which each partition has a log of its own."""
    world = World()
    for topic, number in PARTITIONS:
        one, log = World(), Log(epoch=1)
        one.emit(SOURCES[: rnd.randint(1, len(SOURCES))], rnd)
        for m in one.records:
            log.skip(offset(m) - log.high)
            log.append((topic, number), m.value(), None, headers_of(m))
        log.skip(one.log.high - log.high)
        world.kafka.logs[topic, number] = log
    return world


class Group:
    """Two archivers that partitions go between, and that die and are started again."""

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.world = world_of_many(self.rnd)
        self._settings = Archive(uploads=1, max_records=self.rnd.choice([3, 7, 1000]))
        self.owner = {p: self.rnd.randrange(2) for p in PARTITIONS}
        self.members = [self._start(0), self._start(1)]

    def _start(self, number: int) -> Process:
        return Process(self.world, self._settings, [p for p, owner in self.owner.items() if owner == number])

    def happen(self) -> None:
        """Something happens to one of them."""
        number = self.rnd.randrange(2)
        it, roll = self.members[number], self.rnd.random()
        try:
            if roll < 0.1:
                it.jobs.holding = True
            elif roll < 0.2:
                it.jobs.release()
            elif roll < 0.3:
                it.client.torn.append(self.rnd.randint(0, 2))
            elif roll < 0.4:
                self._move(number)
            elif roll < 0.45:
                self.world.until_crash = self.rnd.randint(1, 15)
            elif roll < 0.5:
                raise Crash
            else:
                it.poll(self.rnd.randint(0, 9), self.rnd.choice([0.01, 0.05, 0.2, 1, 400]))
        except Crash:
            self.world.calm()
            it.die()
            self.members[number] = self._start(number)

    def _move(self, number: int) -> None:
        partition = self.rnd.choice(PARTITIONS)
        if self.owner[partition] != number:
            return
        it, other = self.members[number], self.members[1 - number]
        self.owner[partition] = 1 - number
        if self.rnd.random() < 0.5:
            it.client.revoke(partition)
            try:
                it.poll(self.rnd.randint(0, 9), 0.01)
            finally:
                other.client.give(partition)
        else:
            it.client.lose(partition)
            other.client.give(partition)

    def end(self) -> None:
        """All there is is stored."""
        self.world.calm()
        for it in self.members:
            it.client.torn.clear()
        for _ in range(200):
            for it in self.members:
                it.jobs.release()
                it.poll(50)
                it.flush()
            if all(self.world.kafka.committed.get(p, (0, ""))[0] == self.world.kafka.log(*p).high for p in PARTITIONS):
                return
        raise AssertionError("the archive does not come to an end")


@examples(1)
@given(st.integers(0, 10**6), st.integers(10, 100))
def test_commits_together_neither_lose_nor_double(seed: int, steps: int) -> None:
    group = Group(seed)
    for _ in range(steps):
        group.happen()
    group.end()
    world, stored = group.world, dict[Partition, list[int]]()
    ends = dict.fromkeys(PARTITIONS, 0)
    for entry in sorted(world.entries(), key=lambda e: e.start):
        partition = entry.topic, entry.partition
        assert entry.start == ends[partition]
        ends[partition] = entry.end
        for file in entry.files:
            rows = pq.read_table(io.BytesIO(world.store.objects[file.key])).to_pylist()
            stored.setdefault(partition, []).extend(int(r["ax"]) for r in rows)
    for partition in PARTITIONS:
        log = world.kafka.log(*partition)
        assert ends[partition] == log.high
        assert sorted(stored[partition]) == sorted({n for m in log.records if (n := number_of(m)) is not None})
