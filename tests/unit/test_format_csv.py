"""Lines of CSV: columns by name, numbers as people write them, and each bad line a dead letter of its own."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Found, Reading, Refused
from headrace.config.formats import Csv
from headrace.errors import Reason
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

CONTRACT = pf.contract(
    t="double", n="long", on="boolean", label="string", seen={"type": "long", "logicalType": "timestamp-micros"},
)  # fmt: skip
NAMED = {"columns": ["event_time", "t", "n", "on", "label"]}


def found(payload: bytes, **settings: Any) -> list[Found]:
    return pf.decoder(CONTRACT, format="csv", csv=settings).decode(payload, HERE, NOW)


def read(payload: bytes, **settings: Any) -> list[dict[str, Any]]:
    return pf.rows(CONTRACT, found(payload, **settings))


def test_each_line_is_a_reading() -> None:
    rows = [
        {"event_time": 1_772_359_200_000_000, "t": 21.5, "n": 7, "on": True, "label": "a, b"},
        {"event_time": 1_772_359_201_000_000, "t": -3, "label": "007"},
    ]
    lines = b'2026-03-01T10:00:00Z,21.5,7,on,"a, b"\r\n\r\n2026-03-01T10:00:01Z, -3 ,,,007\r\n'
    assert read(lines, **NAMED) == rows
    assert read(b"\xef\xbb\xbfevent_time,t,n,on,label\n" + lines + b"\0") == rows
    assert read(b"\xef\xbb\xbft\n1\n\xef\xbb\xbf\xef\xbb\xbf2\n") == [{"event_time": NOW, "t": t} for t in (1, 2)]
    assert read(b"21.5;x;1\n", columns=["t", "", "n"], delimiter=";") == [{"event_time": NOW, "t": 21.5, "n": 1}]
    assert read(b"t,n\n1,2,,\n") == [{"event_time": NOW, "t": 1, "n": 2}]
    assert read(b'label\n"say ""hi"""\n') == [{"event_time": NOW, "label": 'say "hi"'}]  # RFC 4180, 2.7


def test_the_decimal_comma() -> None:
    told = {"columns": ["t", "n", "label"], "delimiter": ";", "decimal_comma": True}
    assert read(b"21,5;3;1,5\n-,5;;x", **told) == [
        {"event_time": NOW, "t": 21.5, "n": 3, "label": "1,5"},
        {"event_time": NOW, "t": -0.5, "label": "x"},
    ]
    (refused,) = found(b"21,5\n", columns=["t"], delimiter=";")
    assert isinstance(refused, Refused)
    assert "Send 21.5: with a decimal point" in str(refused.error)


def test_what_is_no_number_is_null_and_noted() -> None:
    assert read(b"nan,1\n", columns=["t", "n"]) == [{"event_time": NOW, "n": 1, "_quality": "t:not_finite:null"}]


def test_a_time_may_be_a_number_in_the_contracts_unit() -> None:
    assert read(b"1700000000000007,1700000000000009", columns=["event_time", "seen"])[0]["event_time"] == (
        1_700_000_000_000_007
    )


@pytest.mark.parametrize("head", [b"t,label\n", b""])
def test_a_bad_line_is_a_dead_letter_of_its_own_that_can_be_read_again(head: bytes) -> None:
    settings = {} if head else {"columns": ["t", "label"]}
    bad = [b"x,y", b"1", b"1,2,3", b'1,"y', b"1,\xff"]
    it = pf.decoder(CONTRACT, format="csv", csv=settings)
    payload = head + b"\n".join([b"1,a", *bad, b"2,b"])
    first, *middle, last = it.decode(payload, HERE, NOW)
    assert isinstance(first, Reading)
    assert isinstance(last, Reading)
    assert [m.original for m in middle if isinstance(m, Refused)] == [head + line for line in bad]
    reasons = [m.error.reason for m in middle if isinstance(m, Refused)]
    assert reasons == [Reason.WRONG_TYPE, *[Reason.MALFORMED] * 4]
    assert "1 cells, and there are 2 columns. Is ',' what separates them?" in str(middle[1])
    for number, one in enumerate(middle, 1):
        assert isinstance(one, Refused)
        assert it.element(payload, number) == one.original
        assert str(pf.refusal(it, one.original)) == str(one.error)


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", Reason.MALFORMED, "the payload is empty"),
        (b" \n\n", Reason.MISSING_FIELD, "the payload has no line"),
        (b"t,t\n1,2", Reason.MALFORMED, "t: the first line has this name twice"),
        (b"\xff\n1", Reason.MALFORMED, "byte 0 of the line is no text in UTF-8"),
        (b"t\n" * 10_002, Reason.TOO_LARGE, "10,001 lines"),
        (b"," * 1000 + b"\n1", Reason.TOO_LARGE, "1,001 columns"),
    ],
)
def test_what_has_no_lines_is_refused_whole(payload: bytes, reason: Reason, words: str) -> None:
    error = pf.refusal(pf.decoder(CONTRACT, format="csv"), payload)
    assert (error.reason, words in str(error)) == (reason, True), error


def test_ten_thousand_bad_lines_take_no_time() -> None:
    it = pf.decoder(CONTRACT, format="csv")
    began = time.process_time()
    assert len(it.decode(b"t\n" + b"x\n" * 10_000, HERE, NOW)) == 10_000
    assert time.process_time() - began < 5


def test_delimiters_are_few() -> None:
    with pytest.raises(ValueError, match="delimiter"):
        Csv(delimiter="ab")


CELLS = st.text(
    st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs", "Zs", "Cc"]), min_size=1, max_size=9
)


@given(
    st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), CELLS),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_as_csv_comes_back(samples: list[tuple[float, int, str]]) -> None:
    lines = "\n".join(f'{t!r};{n};"{label.replace(chr(34), chr(34) * 2)}"' for t, n, label in samples)
    rows = read(lines.encode(), columns=["t", "n", "label"], delimiter=";")
    assert [(row["t"], row["n"], row["label"].strip()) for row in rows] == [(t, n, x.strip()) for t, n, x in samples]
