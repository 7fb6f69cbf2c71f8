"""What clean decides on raw messages, and what it emits for them: without Kafka, on the contract that ships."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contracts.files import find
from headrace.errors import PoisonError, Reason, TransientError
from headrace.wire import Position, frame, pack_position
from processors import columns
from processors.clean.judge import Judged, judge
from processors.clean.positions import position_headers
from processors.clean.schemas import Schemas

ENV = find("environment")
CODEC = columns.codec(ENV)
NOW_MS = 1_700_000_000_000
BASE = {f.name: None for f in ENV.fields} | {"device_id": "d", "event_time": NOW_MS * 1000}


def text(schema_id: int) -> str:
    if schema_id == 7:
        return ENV.text
    if schema_id == 8:
        return '"string"'
    raise PoisonError(Reason.UNKNOWN_SCHEMA, f"no schema {schema_id}")


def run(values: list[bytes | None], repeats: list[bool] | None = None) -> Judged:
    skip = np.array(repeats or [False] * len(values))
    return judge(values, np.full(len(values), NOW_MS), skip, Schemas(text))


def message(**row: Any) -> bytes:
    return CODEC.write(7, BASE | row)


def test_a_good_message_passes_as_it_is() -> None:
    out = run([message(temperature=20.0)])
    assert (out.refused, out.rewritten) == ({}, {})


def test_a_sentinel_is_nulled_and_noted_after_what_was_noted_before() -> None:
    out = run([message(temperature=-200.0, humidity=140.0, _quality="rain:sentinel:null")])
    row = CODEC.read(out.rewritten[0])
    assert (row["temperature"], row["humidity"]) == (None, None)
    assert row["_quality"] == "rain:sentinel:null;temperature:sentinel:null;humidity:maximum:null"
    assert row == BASE | {"_quality": row["_quality"]}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.MALFORMED),
        (b"", Reason.MALFORMED),
        (b"{}", Reason.MALFORMED),
        (b"\1\0\0\0\7" + message()[5:], Reason.MALFORMED),
        (message()[:-1], Reason.MALFORMED),
        (message() + message()[5:], Reason.MALFORMED),
        (frame(9, b"x"), Reason.UNKNOWN_SCHEMA),
        (frame(8, b"x"), Reason.UNKNOWN_SCHEMA),
        (message(event_time=(NOW_MS + 86_400_001) * 1000), Reason.FUTURE_TIME),
    ],
)
def test_what_is_refused(value: bytes | None, reason: Reason) -> None:
    out = run([message(), value, message()])
    assert {i: e.reason for i, e in out.refused.items()} == {1: reason}
    assert out.rewritten == {}


def test_a_repeat_gets_no_verdict() -> None:
    assert run([b"junk", b"junk", message(rain=-200.0)], [True, False, True]).refused.keys() == {1}


def test_while_the_registry_is_away_nothing_is_decided() -> None:
    def away(_: int) -> str:
        raise TransientError("away")

    with pytest.raises(TransientError):
        judge([message()], np.array([NOW_MS]), np.array([False]), Schemas(away))


MESSAGES = st.sampled_from([
    message(temperature=20.0), message(temperature=-200.0), message(pressure=9e9), message()[:-2], message() + b"z",
    None, b"", frame(9, b""), message(event_time=0),
])  # fmt: skip


@settings(deadline=None, max_examples=12)
@given(st.lists(MESSAGES, min_size=1, max_size=20))
def test_a_verdict_does_not_depend_on_the_batch(values: list[bytes | None]) -> None:
    together = run(values)
    for i, value in enumerate(values):
        alone = run([value])
        assert together.rewritten.get(i) == alone.rewritten.get(0)
        assert repr(together.refused.get(i)) == repr(alone.refused.get(0))


@given(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)), max_size=5),
    st.builds(Position, st.integers(-1, 9), st.integers(-1, 2**40), st.integers(-1, 9)),
)
def test_position_headers_are_those_of_the_wire_format(rows: list[tuple[int, int]], before: Position) -> None:
    sources = [Position(e, o, 0) for e, o in rows]
    expected = [pack_position(src, prev) for src, prev in zip(sources, [before, *sources], strict=False)]
    epochs, offsets = (np.array([r[k] for r in rows], dtype=np.int64) for k in (0, 1))
    assert position_headers(epochs, offsets, before) == expected
