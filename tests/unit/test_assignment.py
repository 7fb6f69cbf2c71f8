"""What the group gives to clean is read, whatever had been paused when it was taken away."""

from typing import Any, cast

from headrace import kafka
from processors.assignment import Assignment


class Consumer:
    """A consumer as librdkafka's is: what was paused stays so through loss and a new assignment."""

    def __init__(self) -> None:
        self.on: dict[str, Any] = {}
        self.assigned: set[tuple[str, int]] = set()
        self.paused: set[tuple[str, int]] = set()

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self.on = callbacks

    def assign(self, partitions: list[kafka.TopicPartition]) -> None:
        self.assigned = {(tp.topic, tp.partition) for tp in partitions}

    def unassign(self) -> None:
        self.assigned = set()

    def pause(self, partitions: list[kafka.TopicPartition]) -> None:
        self.paused |= {(tp.topic, tp.partition) for tp in partitions}

    def resume(self, partitions: list[kafka.TopicPartition]) -> None:
        self.paused -= {(tp.topic, tp.partition) for tp in partitions} & self.assigned


def test_a_partition_lost_while_it_was_paused_is_read_when_it_comes_back() -> None:
    consumer, here = Consumer(), [kafka.TopicPartition("imu.raw", 0)]
    assignment = Assignment(cast("kafka.Consumer", consumer))
    assignment.subscribe(["imu.raw"])
    consumer.on["on_assign"](consumer, here)
    assignment.start({("imu.raw", 0): 7})
    consumer.pause(here)
    consumer.on["on_lost"](consumer, here)
    consumer.on["on_assign"](consumer, here)
    consumer.resume([])  # whoever had paused looks at the assignment, and it is empty
    assignment.start({("imu.raw", 0): 7})
    assert consumer.assigned == {("imu.raw", 0)}
    assert not consumer.paused
