"""If nothing is committed, the target's last row tells whether the source topic is the one it came from."""

from collections.abc import Mapping

import pytest

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import FatalError
from headrace.protocol.wire import Headers, Position, Provenance, pack_position
from processors.group import beginning
from processors.group.token import Partition
from tests.unit.toy_kafka import ToyConsumer, ToyKafka

TARGETS = {"imu.raw": "imu.clean"}


def ids(of: int) -> Headers:
    return [Provenance(bytes([of]) * 16).header()]


def row(of: int, src: int) -> Headers:
    position = pack_position(Position(0, src, 0), Position(0, src - 1, 0))
    return [Provenance(bytes([of]) * 16, position=position).header()]


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[ToyConsumer]:
    """The clients that were made, of a Kafka without records."""
    made: list[ToyConsumer] = []
    cluster = ToyKafka()

    def consumer(*_: object, **__: object) -> ToyConsumer:
        made.append(ToyConsumer(cluster))
        return made[-1]

    def ends(_: Kafka, partitions: list[Partition]) -> dict[Partition, tuple[int, int]]:
        return {p: (cluster.log(*p).low, cluster.log(*p).high) for p in partitions}

    monkeypatch.setattr(kafka, "consumer", consumer)
    monkeypatch.setattr(beginning, "log_ends", ends)
    consumer()
    return made


def write(clients: list[ToyConsumer], logs: Mapping[str, list[Headers]], number: int = 0) -> None:
    for topic, records in logs.items():
        for headers in records:
            clients[0].cluster.write(topic, b"x", headers, number)


@pytest.mark.parametrize("strangers", [0, 5, 100, 2345])
def test_a_source_topic_made_anew_is_recognised_whatever_strangers_wrote(
    clients: list[ToyConsumer], strangers: int
) -> None:
    write(clients, {"imu.raw": [ids(7), ids(8), ids(9)], "imu.clean": [row(1, 2), *([[]] * strangers)]})
    with pytest.raises(FatalError, match=r"imu.raw/0.*offset 2.*deleted and created again"):
        beginning.check(Kafka(), {("imu.raw", 0): (0, 3)}, TARGETS)


@pytest.mark.parametrize("strangers", [0, 100, 2345])
def test_a_group_whose_offsets_have_expired_goes_on(clients: list[ToyConsumer], strangers: int) -> None:
    write(clients, {"imu.raw": [ids(7), ids(8), ids(1)], "imu.clean": [row(1, 2), *([[]] * strangers)]})
    beginning.check(Kafka(), {("imu.raw", 0): (0, 3)}, TARGETS)


def test_a_source_log_that_ends_before_the_last_row_is_another_one(clients: list[ToyConsumer]) -> None:
    write(clients, {"imu.raw": [ids(1)], "imu.clean": [row(1, 2)]})
    with pytest.raises(FatalError, match="deleted and created again"):
        beginning.check(Kafka(), {("imu.raw", 0): (0, 1)}, TARGETS)


def test_a_row_from_before_the_source_logs_begin_and_a_target_without_rows_say_nothing(
    clients: list[ToyConsumer],
) -> None:
    write(clients, {"imu.clean": [row(1, 2)]}, number=0)
    write(clients, {"imu.raw": [ids(7)], "imu.clean": [[]] * 300}, number=1)
    beginning.check(Kafka(), {("imu.raw", 0): (3, 9), ("imu.raw", 1): (0, 1), ("imu.raw", 2): (0, 0)}, TARGETS)


def test_one_client_looks_at_all_partitions_and_names_the_one_that_is_wrong(clients: list[ToyConsumer]) -> None:
    for number in range(150):
        write(clients, {"imu.raw": [ids(7), ids(number)], "imu.clean": [row(number, 1), *([[]] * 120)]}, number)
    logs = {("imu.raw", number): (0, 2) for number in range(150)}
    beginning.check(Kafka(), logs, TARGETS)
    assert len(clients) - 1 == 1
    write(clients, {"imu.clean": [row(7, 0)]}, number=77)  # emitted again: it is the record at offset 0
    write(clients, {"imu.clean": [row(3, 1)]}, number=78)
    with pytest.raises(FatalError, match=r"imu\.raw/78"):
        beginning.check(Kafka(), logs, TARGETS)


def test_nothing_is_asked_while_everything_is_committed(clients: list[ToyConsumer]) -> None:
    beginning.check(Kafka(), {}, TARGETS)
    assert len(clients) == 1
