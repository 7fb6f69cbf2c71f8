"""Dead letters kept in the lake: every record as it is, and the table that they make."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace import deadletters, kafka
from headrace.config import Config
from headrace.deadletters import KafkaSource, MqttSource, ReadLetter, Stage, journal
from headrace.errors import PoisonError, Reason
from headrace.kafka import partition
from headrace.lake import letters
from headrace.store.open import open_store

TOPIC = "dead-letters"
HEADERS = st.dictionaries(st.text(max_size=3), st.binary(max_size=3))
RECORDS = st.builds(
    ReadLetter, st.binary(max_size=4), st.binary(max_size=9), HEADERS,
    st.integers(0, 3), st.integers(0, 2**62), st.integers(0, 2**41),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=5))
def test_records_are_kept_as_they_are(found: list[ReadLetter]) -> None:
    assert list(letters.decode(letters.encode(found))) == found


class Log:
    """The partition of the topic, as a Kafka client would give it. `low`: what is before has been deleted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[ReadLetter] = []
        self.low = 0
        monkeypatch.setattr(kafka, "describe", lambda *_: {TOPIC: kafka.TopicInfo("to+ic/id==", 1, 1_000_000)})
        monkeypatch.setattr(kafka, "watermarks", lambda *_: (self.low, len(self.records)))
        monkeypatch.setattr(partition, "reader", lambda _: self)
        monkeypatch.setattr(partition, "read", self._read)
        monkeypatch.setattr(letters, "of_message", lambda it: it)

    def _read(self, _client: Any, _topic: str, _number: int, first: int, end: int | None = None) -> Any:
        return iter(self.records[max(first, self.low) : end])

    def close(self) -> None:
        """As a consumer has it."""

    def add(self, *made: deadletters.Letter) -> None:
        for it in made:
            at = len(self.records)
            self.records.append(ReadLetter(it.key, it.value, dict(it.headers), 0, at, 1_700_000_000_000 + at))


def letter(n: int, reason: Reason = Reason.OUT_OF_RANGE, **more: Any) -> deadletters.Letter:
    error = PoisonError(reason, "too hot", field="heat", value="80")
    source = KafkaSource("imu.raw", "id", 0, 0, n)
    return deadletters.letter(error, b"%d" % n, stage=Stage.CLEAN, stream="imu", source=source, device="d-1", **more)


def config(folder: Path) -> Config:
    return Config.model_validate({"store": {"kind": "folder", "folder": folder}, "streams": {"imu": {}}})


def test_what_is_kept_and_what_is_in_kafka_alone_are_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, log = config(tmp_path), Log(monkeypatch)
    store = open_store(cfg.store)
    first, second, third = (letter(n) for n in range(3))
    log.add(first, second, first)
    assert letters.keep(cfg, store) == letters.Kept(3, 0)
    assert letters.keep(cfg, store) == letters.Kept(0, 0), "nothing has come since"
    log.add(journal.DropNote(first.key, "ana", 0, "stream imu").record())
    log.add(journal.RedriveNote(second.key, 1, True, {}, []).record(), third)
    large = MqttSource("a/b", 0, b"p")
    made = deadletters.letter(PoisonError(Reason.MALFORMED, "x"), b"", stage=Stage.BRIDGE, stream="", source=large)
    log.add(made._replace(headers=[*made.headers, ("pointer", b"_dead_letters/x"), ("size", b"5000000")]))

    def rows() -> list[dict[Any, Any]]:
        sql = "select state, reason, device, dropped_by, size, payload from dead_letters order by time"
        return headrace.query(sql, config=cfg).to_dict("records")

    before = rows()
    assert [(r["state"], r["reason"], r["size"]) for r in before] == [
        ("dropped", "out_of_range", 1), ("redriven", "out_of_range", 1), ("open", "out_of_range", 1),
        ("open", "malformed", 5_000_000),
    ]  # fmt: skip
    assert (before[0]["dropped_by"], before[0]["device"], bytes(before[0]["payload"])) == ("ana", "d-1", b"0")

    log.low = 5  # Kafka has deleted what was kept, and two records that were not
    assert letters.keep(cfg, store) == letters.Kept(2, 2)
    assert [r["state"] for r in rows()] == ["open", "open", "open", "open"], "the notes were lost, the letters not"
    log.low = len(log.records)
    assert len(rows()) == 4
    count = headrace.query("select reason, count(*) n from dead_letters group by 1 order by 1", config=cfg)
    assert count.to_dict("records") == [{"reason": "malformed", "n": 1}, {"reason": "out_of_range", "n": 3}]


def test_two_runs_at_a_time_keep_each_record_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, log = config(tmp_path), Log(monkeypatch)
    store = open_store(cfg.store)
    log.add(letter(0), letter(1))
    letters.keep(cfg, store)
    monkeypatch.setattr(letters, "files", lambda _: [])  # the other run has not seen this one's file
    log.add(letter(2))
    assert letters.keep(cfg, store) == letters.Kept(3, 0)
    monkeypatch.undo()
    Log(monkeypatch)
    assert len(letters.files(store)) == 2
    assert letters.table(letters.records(cfg, store)).num_rows == 3


def test_a_stream_that_is_called_so_keeps_its_name(tmp_path: Path) -> None:
    cfg = Config.model_validate({"store": {"kind": "folder", "folder": tmp_path}, "streams": {"dead_letters": {}}})
    assert headrace.query("from dead_letters", config=cfg).empty
