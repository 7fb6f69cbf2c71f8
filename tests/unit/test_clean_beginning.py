"""Where nothing is committed, the clean topic's last row tells whether the raw topic is the one it came from."""

from typing import Any

import pytest

from headrace import kafka
from headrace.config import Config
from headrace.errors import FatalError
from headrace.wire import EVENT_ID, POSITION, Headers, Position, pack_position
from processors.clean import beginning


class Record:
    """A record of a partition."""

    def __init__(self, offset: int, headers: Headers) -> None:
        self._offset, self._headers = offset, headers

    def offset(self) -> int:
        return self._offset

    def leader_epoch(self) -> int:
        return 0

    def headers(self) -> Headers:
        return self._headers

    def error(self) -> None:
        return None


class Client:
    """Reads two logs whose records lie at the offsets 0, 1, ..."""

    def __init__(self, logs: dict[str, list[Headers]]) -> None:
        self._logs = logs
        self._left: list[Record] = []

    def get_watermark_offsets(self, at: kafka.TopicPartition, **_: Any) -> tuple[int, int]:
        return 0, len(self._logs[at.topic])

    def assign(self, partitions: list[kafka.TopicPartition]) -> None:
        (at,) = partitions
        self._left = [Record(i, h) for i, h in enumerate(self._logs[at.topic])][at.offset :]

    def consume(self, count: int, timeout: float) -> list[Record]:
        assert timeout > 0
        out, self._left = self._left[:count], self._left[count:]
        return out

    def close(self) -> None: ...


def ids(of: int) -> Headers:
    return [(EVENT_ID, bytes([of]) * 16)]


@pytest.mark.parametrize("strangers", [0, 5, 100, 2345])
def test_a_raw_topic_made_anew_is_recognised_whatever_strangers_wrote(
    monkeypatch: pytest.MonkeyPatch, strangers: int
) -> None:
    row: Headers = [*ids(1), (POSITION, pack_position(Position(0, 2, 0), Position(0, 1, 0)))]
    logs: dict[str, list[Headers]] = {"imu.raw": [ids(7), ids(8), ids(9)], "imu.clean": [row, *([[]] * strangers)]}
    monkeypatch.setattr(kafka, "consumer", lambda *_, **__: Client(logs))
    with pytest.raises(FatalError, match="deleted and created again"):
        beginning.check(Config(), ("imu.raw", 0), 0, 3)
    logs["imu.raw"][2] = ids(1)
    beginning.check(Config(), ("imu.raw", 0), 0, 3)


def test_a_clean_topic_without_rows_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "consumer", lambda *_, **__: Client({"imu.raw": [ids(7)], "imu.clean": [[]] * 300}))
    beginning.check(Config(), ("imu.raw", 0), 0, 1)
