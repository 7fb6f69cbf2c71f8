"""A raw log on clean's real decisions, without Kafka: cut into any batches, and clean started again anywhere."""

import json
from collections.abc import Collection
from functools import partial
from typing import Any

from hypothesis import strategies as st

from headrace.contracts.model import Contract, parse
from headrace.deadletters import Letter
from headrace.kafka import Message
from headrace.protocol.clean_note import encode
from headrace.protocol.wire import Provenance, frame
from processors.avro.codec import Codec
from processors.clean.batch import Decided, decided, looked_back, raw_batch, verdicts
from processors.clean.lookback import Lookback
from processors.clean.partition import RawPartition
from processors.clean.schemas import known_of
from processors.clean.snapshot import Snapshot, decode, serves
from processors.clean.snapshot import encode as snapshot_bytes
from processors.group.partition import Found, resume
from processors.group.schemas import Schemas
from processors.group.token import Token

NOW_MS = 1_700_000_000_000
PLACE = ("room.raw", 0)
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
BASE: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "minimum": 946684800000000},
]


def contract(kind: Any = "double", **rules: Any) -> Contract:
    """The contract of a room, with these rules on its optional field x."""
    x = {"name": "x", "type": ["null", kind], "default": None, "unit": "Cel", **rules}
    return contract_of([*BASE, x])


def contract_of(fields: list[dict[str, Any]], **more: Any) -> Contract:
    """The contract with these fields. `more`: further keys beside them."""
    return parse("room", json.dumps({"type": "record", "name": "room", "fields": [*fields, QUALITY], **more}))


NULLING = contract(max_step=5, minimum=-50, maximum=100, sentinels=[-200], on_violation="null")
EVERY = contract(
    max_step=5, monotonic="not_decreasing", max_stuck=3, max_stuck_seconds=4, sentinels=[-200], maximum=400,
    on_violation={"max_step": "flag", "monotonic": "flag", "max_stuck": "null", "maximum": "reject"},
)  # fmt: skip


class Log:
    """Writes raw messages, and cleans them."""

    def __init__(self, it: Contract = NULLING, lookback: int = 100) -> None:
        self.codec = Codec(it.schema)
        self.schemas = Schemas(lambda _: it.text, known_of)
        self._length = lookback
        self.records: list[Message] = []
        self.end = 0
        self.saved = b""
        self.restored = 0  # restarts that a snapshot served
        self.partition = self._open(None, "")

    def write(
        self, x: float | None, at: int, device: str = "d", schema: int = 1, event: int | None = None, **more: Any
    ) -> None:
        """A reading of `device`, taken at second `at`. Those of one `event` are copies. `more`: its other fields."""
        row = {"device_id": device, "event_time": (NOW_MS // 1000 + at) * 1_000_000, "x": x, "_quality": None, **more}
        self.append(self.codec.write(schema, row), event)

    def append(self, value: bytes | None, event: int | None = None, gap: int = 0) -> None:
        offset = self.end + gap
        headers: Any = [] if event is None else [Provenance(event.to_bytes(16)).header()]
        m = Message(
            topic=PLACE[0], partition=0, offset=offset, key=b"d", value=value, headers=headers,
            timestamp=(2, NOW_MS), leader_epoch=0,
        )  # fmt: skip
        self.records.append(m)
        self.end = offset + 1

    def _open(self, committed: int | None, metadata: str) -> RawPartition:
        found = Found("room.clean", "id", 0, self.end, committed, metadata)
        values = partial(looked_back, schemas=self.schemas)
        restored, (position, note) = None, resume(PLACE, found)
        if self.saved and serves(snapshot := decode(self.saved), note, position, 0, self._length):
            restored = Lookback(self._length)
            restored.add(snapshot.seen)
            self.restored += 1
        return RawPartition(PLACE, Token(), found, None, self._length, values, restored=restored)

    def save(self) -> None:
        """Write a snapshot of the look-back, if it is whole."""
        it = self.partition
        if it.whole and it.note.tail is not None:
            self.saved = snapshot_bytes(Snapshot(it.note.topic_id, self._length, it.note.tail, it.lookback.kept()))

    def clean(self, first: int, end: int) -> Decided:
        """Decide on records [first, end), and commit."""
        batch = raw_batch(self.partition, self.records[first:end])
        (judged,) = verdicts([batch], self.schemas)
        out = decided(batch, judged, {"room.clean": 10**6})
        self.partition.committed(out.offset, out.note)
        self.partition.lookback.add(out.seen)
        return out

    def restart(self, pieces: int = 1) -> None:
        """Forget everything but the commit, and read the look-back again, in that many pieces."""
        self.partition = it = self._open(self.partition.next, encode(self.partition.note))
        again = [m for m in self.records if it.begin <= (m.offset() or 0) < it.next]
        size = max(1, len(again) // pieces)
        for a in range(0, len(again), size):
            it.remember(again[a : a + size])

    def rows(self) -> list[dict[str, Any]]:
        """The rows that pass, when all is cleaned in one batch."""
        return [self.codec.read(value or b"") for _, value, _ in self.clean(0, len(self.records)).rows]

    def values(self) -> list[Any]:
        """What became of x in each row that passed: a number, or the note of the change."""
        return [row["_quality"] or row["x"] for row in self.rows()]


# x, second, device, schema id, event id: what `Log.write` takes; and bytes that are no reading.
READINGS = st.tuples(
    st.sampled_from([20.0, 21.0, 24.0, 90.0, -200.0, 500.0, None]),
    st.integers(0, 8),  # the time
    st.sampled_from("de"),
    st.sampled_from([1, 1, 1, 2]),  # the schema id
    st.none() | st.integers(0, 6),  # the event id
)
MESSAGES = READINGS | st.sampled_from([b"junk", frame(1, b"x"), None])


def same_however_cut(
    messages: list[tuple[Any, int]],
    lookback: int,
    cuts: dict[int, int],
    it: Contract = NULLING,
    saves: Collection[int] = (),
) -> int:
    """Whether a log is cleaned in one batch, or in several with restarts between them.

    `cuts`: where a batch ends, and in how many pieces the look-back is read after a restart there; 0: none. `saves`:
    where of these a snapshot is written before. Returns how many restarts a snapshot served.
    """
    log, other = Log(it, lookback), Log(it, lookback)
    for one in (log, other):
        for message, gap in messages:
            if isinstance(message, tuple):
                one.end += gap
                one.write(*message)
            else:
                one.append(message, gap=gap)
    whole = log.clean(0, len(log.records))
    parts, first = [], 0
    for end in [*sorted(c for c in cuts if c < len(messages)), len(messages)]:
        parts.append(other.clean(first, end))
        first = end
        if end in saves:
            other.save()
        if cuts.get(end):
            other.restart(cuts[end])
    assert [row for p in parts for row in p.rows] == whole.rows
    assert [_untimed(x) for p in parts for x in p.letters] == [_untimed(x) for x in whole.letters]
    assert parts[-1].note == whole.note
    return other.restored


def _untimed(it: Letter) -> Letter:
    return it._replace(headers=[h for h in it.headers if h[0] != "failed-at"])
