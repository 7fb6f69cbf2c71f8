"""A Kafka topic in memory, as `headrace.operate.latest.Log` asks it."""

from collections.abc import Mapping

from confluent_kafka import KafkaError, Message

from headrace.operate.live import Part, Record


class Log:
    """A topic in memory. `time` of a record is its place in the order of all that was added."""

    def __init__(self, partitions: int = 2) -> None:
        self.values: dict[int, list[tuple[int, bytes]]] = {n: [] for n in range(partitions)}
        self.marks: set[int] = set()  # offsets that hold no record
        self.seeks: list[dict[int, int]] = []
        self.sent = 0
        self._at: dict[int, int] = {}
        self._ended: set[int] = set()
        self._time = 0

    def add(self, partition: int, count: int, size: int = 10) -> None:
        for _ in range(count):
            self._time += 1
            self.values[partition].append((self._time, b"x" * size))

    def look(self) -> list[Part]:
        return [Part(n, 0, len(v)) for n, v in self.values.items()]

    def seek(self, starts: Mapping[int, int]) -> None:
        self.seeks.append(dict(starts))
        self._at = dict(starts)
        self._ended = set()

    def poll(self, seconds: float) -> list[Message]:
        assert seconds < 0.1
        out = []
        for n, at in self._at.items():
            for offset in range(at, min(at + 50, len(self.values[n]))):
                when, value = self.values[n][offset]
                if offset not in self.marks:
                    out.append(Message(topic="t", partition=n, offset=offset, value=value, timestamp=(1, when)))
                self._at[n] = offset + 1
                self._ended.discard(n)
            if self._at[n] == len(self.values[n]) and n not in self._ended:
                self._ended.add(n)
                out.append(Message(topic="t", partition=n, offset=self._at[n], error=KafkaError(-191)))  # its end
        self.sent += len(out)
        return out

    def record(self, m: Message) -> Record:
        return Record(m.partition() or 0, m.offset() or 0, m.timestamp()[1], {"size": len(m.value() or b"")}, "")
