"""What clean decides on raw messages, and what it emits for them: without Kafka, on the contract that ships."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.files import find
from headrace.errors import PoisonError, Reason, TransientError
from headrace.protocol.wire import frame
from processors.avro.codec import Codec, Decoded
from processors.clean.judge import Judged, Raw, judge
from processors.clean.lookback import Lookback
from processors.clean.schemas import known_of
from processors.group.schemas import Schemas
from tests.profiles import examples

ENV = find("environment")
CODEC = Codec(ENV.schema)
NOW_MS = 1_700_000_000_000
BASE = {f.name: None for f in ENV.fields} | {"device_id": "d", "event_time": NOW_MS * 1000}


def text(schema_id: int) -> str:
    if schema_id == 7:
        return ENV.text
    if schema_id == 8:
        return '"string"'
    raise PoisonError(Reason.UNKNOWN_SCHEMA, f"no schema {schema_id}")


def raw(values: list[bytes | None], repeats: list[bool] | None = None) -> Raw:
    n = len(values)
    return Raw(values, np.full(n, NOW_MS), np.arange(n), np.array(repeats or [False] * n), Lookback(100))


def run(values: list[bytes | None], repeats: list[bool] | None = None) -> Judged:
    (out,) = judge([raw(values, repeats)], Schemas(text, known_of))
    return out


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
        judge([raw([message()])], Schemas(away, known_of))


def test_each_part_gets_the_verdicts_on_its_own_messages() -> None:
    bad, changed = message(event_time=0), message(temperature=-200.0)
    first, second, third = judge(
        [raw([bad, message()]), raw([b"junk"]), raw([message(), changed])], Schemas(text, known_of)
    )
    assert (list(first.refused), list(second.refused), list(third.refused)) == ([0], [0], [])
    assert (list(first.rewritten), list(second.rewritten), list(third.rewritten)) == ([], [], [1])


def test_schemas_with_one_text_are_read_together_and_each_keeps_its_own_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream has registered its contract: 50 streams of one kind may have 50 ids for one text."""
    made, sizes = Schemas(lambda n: text(8 if n == 8 else 7), known_of), list[int]()
    read = Codec.decode

    def decode(codec: Codec, values: Sequence[bytes]) -> Decoded:
        sizes.append(len(values))
        return read(codec, values)

    monkeypatch.setattr(Codec, "decode", decode)
    values: list[bytes | None] = [
        CODEC.write(n, BASE | {"temperature": t}) for n, t in ((11, 1), (10, -200), (11, -200), (10, 2))
    ]
    first, second = judge([raw(values), raw([CODEC.write(12, BASE | {"event_time": 0})])], made)
    assert sizes == [5]
    assert (first.refused, list(second.refused)) == ({}, [0])
    assert {i: value[:5] for i, value in first.rewritten.items()} == {1: frame(10, b""), 2: frame(11, b"")}


MESSAGES = st.sampled_from([
    message(temperature=20.0), message(temperature=-200.0), message(pressure=9e9), message()[:-2], message() + b"z",
    None, b"", frame(9, b""), message(event_time=0),
])  # fmt: skip


@examples(0.12)
@given(st.lists(MESSAGES, min_size=1, max_size=20))
def test_a_verdict_does_not_depend_on_the_batch(values: list[bytes | None]) -> None:
    together = run(values)
    for i, value in enumerate(values):
        alone = run([value])
        assert together.rewritten.get(i) == alone.rewritten.get(0)
        assert repr(together.refused.get(i)) == repr(alone.refused.get(0))
