"""The archive asks Kafka for as many messages as make a good chunk, whatever their size."""

from headrace.kafka import Message
from processors.archive.reader import Reader
from processors.group.member import Member
from tests.unit.archive_rows import TOPIC
from tests.unit.archive_world import PARTITION
from tests.unit.toy_kafka import ToyConsumer, ToyKafka


class Client(ToyConsumer):
    """Remembers how many messages it was asked for."""

    def __init__(self, cluster: ToyKafka) -> None:
        super().__init__(cluster)
        self.asked: list[int] = []

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        self.asked.append(num_messages)
        return super().consume(num_messages, timeout)


def asked(size: int, count: int, reads: int = 6, most: int = 10_000) -> list[int]:
    """How many messages it asks for in each read of a log of `count` messages of `size` bytes."""
    cluster = ToyKafka()
    value = bytes(size)
    for _ in range(count):
        cluster.write(TOPIC, value)
    client = Client(cluster)
    member = Member(client)
    member.subscribe([TOPIC])
    client.give(PARTITION)
    reader = Reader(member, most)
    reader.read(0.0)
    member.start(PARTITION, 0)
    for _ in range(reads):
        reader.read(0.0)
    return [1 + rest for rest in client.asked if rest > 1]  # it waits for the first one, then takes the rest


def test_thousands_of_small_messages_though_not_from_the_start() -> None:
    found = asked(100, 50_000, reads=4)
    assert found[:2] == [500, 2000]
    assert 2_000 < found[2] <= found[3] < 4_000  # half a mebibyte, with what a message takes beside its value


def test_a_few_large_ones() -> None:
    found = asked(2 * 1024 * 1024, 40, reads=2)
    assert (found[0], found[1] <= 10) == (500, True)


def test_never_more_than_the_setting_allows() -> None:
    assert set(asked(100, 3000, reads=4, most=300)) == {300}
