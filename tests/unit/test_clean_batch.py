"""What becomes of a batch of raw messages: rows, dead letters, counts and the note to commit. Without Kafka."""

import itertools
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.config import Config
from headrace.contracts.files import find
from headrace.deadletters import Letter
from headrace.kafka import Message
from headrace.protocol.clean_note import Counts
from headrace.protocol.wire import (
    DUP,
    ORIGIN,
    PROVENANCE,
    UNKNOWN,
    Headers,
    Position,
    Provenance,
    frame,
    pack_position,
    provenance,
    record_bytes,
    unpack_position,
)
from processors.avro.codec import Codec
from processors.clean.batch import Decided, decided, raw_batch, verdicts
from processors.clean.judge import Judged
from processors.clean.partition import RawPartition
from processors.clean.schemas import known_of
from processors.group.partition import Found
from processors.group.refusal import shelved
from processors.group.schemas import Schemas
from processors.group.token import Token

ENV = find("environment")
CODEC = Codec(ENV.schema)
NOW_MS = 1_700_000_000_000
LIMITS = {"environment.clean": 1_000_000}
BASE = {f.name: None for f in ENV.fields} | {"device_id": "d", "event_time": NOW_MS * 1000}


def value(**row: Any) -> bytes:
    return CODEC.write(7, BASE | row)


def message(offset: int, data: bytes | None, event: int | None, headers: Headers | None = None) -> Message:
    if headers is None:
        event_id = None if event is None else event.to_bytes(16)
        headers = [Provenance(event_id, 1_700_000_000_000_000, b"env/d", 1).header()]
    return Message(
        topic="environment.raw",
        partition=2,
        offset=offset,
        key=b"d",
        value=data,
        headers=headers,  # type: ignore[arg-type]  # a list is invariant
        timestamp=(2, NOW_MS),
        leader_epoch=4,
    )


def partition(lookback: int = 100) -> RawPartition:
    return RawPartition(
        ("environment.raw", 2),
        Token(),
        Found("environment.clean", "topic-id", 0, 100, None, ""),
        None,
        lookback,
        lambda _: {},
    )


def run(it: RawPartition, messages: list[Message], limits: dict[str, int] = LIMITS) -> Decided:
    """Decide, and go on as after the commit."""
    batch = raw_batch(it, messages)
    (judged,) = verdicts([batch], Schemas(lambda _: ENV.text, known_of))
    out = decided(batch, judged, limits)
    it.committed(out.offset, out.note)
    it.lookback.add(out.seen)
    return out


def sources(out: Decided) -> list[tuple[Position, Position]]:
    return [unpack_position(provenance(headers).position) for _, _, headers in out.rows]


def test_each_message_becomes_one_thing_and_is_counted_once() -> None:
    good, changed, refused = value(temperature=20.0), value(temperature=-200.0), value(event_time=0)
    it = partition()
    log = [message(5, good, 1), message(7, refused, 2), message(8, changed, 3), message(9, good, 1)]
    out = run(it, log)
    assert out.rows[0][:2] == (b"d", good)
    assert CODEC.read(out.rows[1][1] or b"")["_quality"] == "temperature:sentinel:null"
    assert sources(out) == [(Position(4, 5, 0), ORIGIN), (Position(4, 8, 0), Position(4, 5, 0))]
    assert out.counts == Counts(kept=1, changed=1, rejected=1, repeated=1)
    assert dict(out.reasons) == {"out_of_range": 1}
    assert [(x.value, dict(x.headers)["source"]) for x in out.letters] == [
        (refused, b'{"epoch":4,"index":0,"offset":7,"partition":2,"topic":"environment.raw","topic_id":"topic-id"}')
    ]
    assert out.offset == 10
    assert (out.note.last, out.note.counts) == (Position(4, 8, 0), out.counts._replace(skipped=6))


def test_a_batch_that_emits_nothing_keeps_the_last_source() -> None:
    it = partition()
    run(it, [message(0, value(), 1)])
    out = run(it, [message(1, value(), 1), message(2, b"junk", 2)])
    assert (out.rows, len(out.letters), out.note.last) == ([], 1, Position(4, 0, 0))


def test_a_row_keeps_what_its_header_says_but_the_topic_and_nothing_that_is_none_of_ours() -> None:
    position = pack_position(Position(4, 0, 0), ORIGIN)
    ours = Provenance(bytes(16), 17, b"env/d", 1 | DUP)
    foreign: list[Any] = [
        [("x", b"y"), (PROVENANCE, b"short")], [(PROVENANCE, b"\2" + bytes(57))], [(PROVENANCE, None)], [],
    ]  # fmt: skip
    for headers, kept in [
        ([ours.header()], ours),
        ([("x", b"y"), ours.header()], ours),
        ([(PROVENANCE, None), ours.header(), Provenance(b"j" * 16).header()], ours),
        ([ours._replace(position=b"p" * 32).header()], ours),
        *((it, UNKNOWN) for it in foreign),
    ]:
        (row,) = run(partition(), [message(0, value(), None, headers)]).rows
        assert row[2] == [kept._replace(mqtt_topic=b"", position=position).header()]


def test_a_letter_says_in_words_what_the_header_says() -> None:
    came = Provenance(b"i" * 16, 17, b"env/d", 1 | DUP).header()
    (it,) = run(partition(), [message(0, b"junk", None, [came, ("redrive", b"k/1")])]).letters
    said = dict(it.headers)
    assert (said["event-id"], said["received-at"], said["mqtt-topic"]) == (b"i" * 16, b"17", b"env/d")
    assert (said["mqtt-qos"], said["mqtt-dup"], said["mqtt-retain"]) == (b"1", b"1", b"0")
    assert said["redrive"] == b"k/1"
    assert not {"provenance", "position"} & said.keys()
    (odd,) = run(partition(), [message(0, b"junk", None, [(PROVENANCE, b"short")])]).letters
    assert dict(odd.headers)["provenance"] == b"short", "whatever it is, it is not lost"


def test_the_bytes_of_a_row_are_counted_as_they_are() -> None:
    large = message(0, value(wind_direction="N" * 500), 1)
    (row,) = run(partition(), [large]).rows
    exact = record_bytes(row[0], row[1] or b"", row[2])
    assert len(run(partition(), [large], {"environment.clean": exact}).rows) == 1
    assert len(run(partition(), [large], {"environment.clean": exact - 1}).rows) == 0


def test_what_the_clean_topic_would_not_take_is_refused_once_and_its_copy_is_a_copy() -> None:
    large = value(wind_direction="N" * 500)
    out = run(partition(), [message(0, large, 1), message(1, large, 1)], {"environment.clean": 700})
    assert (out.rows, out.counts) == ([], Counts(rejected=1, repeated=1))
    assert dict(out.reasons) == {"too_large": 1}
    assert "its topic takes 700" in dict(out.letters[0].headers)["detail"].decode()


def test_a_small_row_that_was_made_large_is_refused_too() -> None:
    batch = raw_batch(partition(), [message(0, value(), 1), message(1, value(), 2)])
    out = decided(batch, Judged(rewritten={1: value(wind_direction="N" * 2_000_000)}), LIMITS)
    assert (len(out.rows), out.counts, dict(out.reasons)) == (1, Counts(kept=1, rejected=1), {"too_large": 1})


def test_a_letter_too_large_for_its_topic_is_stored_and_points_there(tmp_path: Path) -> None:
    store = {"kind": "folder", "folder": tmp_path}
    config = Config.model_validate({"max_message_bytes": 100_000, "store": store})
    out = run(partition(), [message(0, b"x" * 300_000, 1), message(1, b"small", 2)])
    large, small = (shelved(config, letter) for letter in out.letters)
    assert (tmp_path / dict(large.headers)["pointer"].decode()).read_bytes() == b"x" * 300_000
    assert (large.value, small) == (b"", out.letters[1])


VALUES = st.sampled_from([
    value(temperature=20.0), value(temperature=-200.0), value(event_time=0), value()[:-2], None, b"", frame(7, b""),
])  # fmt: skip


@given(
    st.lists(st.tuples(VALUES, st.none() | st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=30),
    st.sets(st.integers(1, 29)),
)
def test_what_becomes_of_a_message_does_not_depend_on_how_the_log_is_cut(
    steps: list[tuple[bytes | None, int | None, int]], cuts: set[int]
) -> None:
    offsets = itertools.accumulate(step for _, _, step in steps)
    log = [message(o, data, event) for o, (data, event, _) in zip(offsets, steps, strict=True)]
    whole = run(partition(10), log)
    it = partition(10)
    edges = [0, *sorted(c for c in cuts if c < len(log)), len(log)]
    parts = [run(it, log[a:b]) for a, b in itertools.pairwise(edges)]
    assert [row for p in parts for row in p.rows] == whole.rows
    assert [untimed(x) for p in parts for x in p.letters] == [untimed(x) for x in whole.letters]
    assert (parts[-1].offset, parts[-1].note) == (whole.offset, whole.note)


def untimed(it: Letter) -> Letter:
    return it._replace(headers=[h for h in it.headers if h[0] != "failed-at"])
