"""CBOR and MessagePack: what their specifications give as examples, and what is refused."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders import cbor, msgpack
from bridge.decoders.base import Reading, Refused
from bridge.decoders.plain import objects
from headrace.errors import PoisonError, Reason
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

CONTRACT = pf.contract(
    a="double", b=({"type": "array", "items": "long"}, {"max_items": 8}), n="long", label="string", data="bytes",
    on="boolean",
)  # fmt: skip


def read(name: str, payload: bytes) -> list[dict[str, Any]]:
    return pf.rows(CONTRACT, pf.decoder(CONTRACT, format=name).decode(payload, HERE, NOW))


@pytest.mark.parametrize(
    ("hexadecimal", "value"),
    [  # RFC 8949, appendix A
        ("1bffffffffffffffff", 18446744073709551615),
        ("c249010000000000000000", 18446744073709551616),
        ("3bffffffffffffffff", -18446744073709551616),
        ("f93e00", 1.5),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f4", False),
        ("f6", None),
        ("c074323031332d30332d32315432303a30343a30305a", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("c11a514b67b0", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("c1fb41d452d9ec200000", datetime(2013, 3, 21, 20, 4, 0, 500_000, tzinfo=UTC)),
        ("c48221196ab3", 273.15),  # RFC 8949, 3.4.4
        ("4401020304", b"\1\2\3\4"),
        ("64f0908591", "\U00010151"),
        ("83010203", [1, 2, 3]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("a201020304", {"1": 2, "3": 4}),
        ("5f42010243030405ff", b"\1\2\3\4\5"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("d9d9f7 f5", True),  # 3.4.6
    ],
)
def test_cbor_is_read_as_its_specification_says(hexadecimal: str, value: object) -> None:
    (found,) = objects([{"x": cbor.load(bytes.fromhex(hexadecimal))}], "CBOR")
    found = found["x"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("hexadecimal", "value"),
    [  # the formats of github.com/msgpack/msgpack/blob/master/spec.md; the first is the example of msgpack.org
        ("82a7636f6d70616374c3a6736368656d6100", {"compact": True, "schema": 0}),
        ("81a161cfffffffffffffffff", {"a": 18446744073709551615}),
        ("81a161d1ff80", {"a": -128}),
        ("81a161ca3fc00000", {"a": 1.5}),
        ("81a161c403010203", {"a": b"\1\2\3"}),
        ("81a161c0", {"a": None}),
        ("81a16193010203", {"a": [1, 2, 3]}),
        ("8101a178", {"1": "x"}),
        ("81a161d6ff514b67b0", {"a": datetime(2013, 3, 21, 20, 4, tzinfo=UTC)}),  # timestamp 32
        ("81a161d7ff773594005a000000", {"a": datetime(2017, 11, 6, 6, 24, 0, 500_000, tzinfo=UTC)}),  # timestamp 64
    ],
)
def test_messagepack_is_read_as_its_specification_says(hexadecimal: str, value: object) -> None:
    assert msgpack.parse(bytes.fromhex(hexadecimal)) == [value]


PACK: dict[str, Callable[[Any], bytes]] = {"cbor": cbor2.dumps, "msgpack": msgspec.msgpack.encode}


@pytest.mark.parametrize("name", PACK)
def test_objects_become_rows(name: str) -> None:
    one = {
        "event_time": datetime(2026, 3, 1, tzinfo=UTC),
        "a": 21,
        "b": [1, 2],
        "data": b"\1",
        "on": True,
        "label": "x",
    }
    assert read(name, PACK[name](one)) == [{**one, "event_time": 1_772_323_200_000_000}]
    assert [row["a"] for row in read(name, PACK[name]([{"a": 1.5}, {"a": 2.5}]))] == [1.5, 2.5]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=4))
def test_what_an_encoder_writes_is_read_back_and_split(sent: list[dict[str, Any]]) -> None:
    for name, module in (("cbor", cbor), ("msgpack", msgpack)):
        payload = PACK[name](sent)
        assert module.parse(payload) == sent
        assert [module.parse(part) for part in module.split(payload)] == [[one] for one in sent]
        assert module.parse(PACK[name](sent[0])) == sent[:1]
        assert module.split(PACK[name](sent[0])) == [PACK[name](sent[0])]


@pytest.mark.parametrize("name", PACK)
def test_one_bad_element_is_a_dead_letter_of_its_own(name: str) -> None:
    first, bad, last = pf.decoder(CONTRACT, format=name).decode(PACK[name]([{"a": 1}, {"a": "x"}, {"a": 2}]), HERE, NOW)
    assert isinstance(first, Reading)
    assert isinstance(last, Reading)
    assert isinstance(bad, Refused)
    assert bad.original == PACK[name]({"a": "x"})


def test_an_array_of_cbor_without_a_length_is_split_too() -> None:
    assert cbor.split(bytes.fromhex("9f a1616101 a1616102 ff")) == [bytes.fromhex(h) for h in ("a1616101", "a1616102")]


@pytest.mark.parametrize(
    ("name", "payload", "reason", "words"),
    [
        ("cbor", b"", Reason.MALFORMED, "the payload is empty"),
        ("cbor", b'{"a": 1}', Reason.MALFORMED, "not CBOR: "),
        ("cbor", bytes.fromhex("a1616101a1616102"), Reason.MALFORMED, "4 bytes more behind the first item"),
        ("cbor", bytes.fromhex("182a"), Reason.MALFORMED, "an object expected, or a list of objects, not a whole"),
        ("cbor", b"\x81" * 5000 + b"\0", Reason.MALFORMED, "nesting depth"),
        ("cbor", bytes.fromhex("a16161d81c80"), Reason.WRONG_TYPE, "the tag 28 can't be read"),
        ("cbor", bytes.fromhex("a16161d82a80"), Reason.WRONG_TYPE, "the tag 42 can't be read"),
        ("cbor", bytes.fromhex("a16161c4821a3b9ac9ff01"), Reason.WRONG_TYPE, "a: a value of a kind that no field has"),
        ("cbor", bytes.fromhex("a16161f7"), Reason.WRONG_TYPE, "a: a value of a kind"),
        ("cbor", b"\xa1\x61a\xc2\x5a\0\x01\0\0" + b"\xff" * 65536, Reason.WRONG_TYPE, "a: a number of hundreds"),
        ("cbor", bytes.fromhex("a2 01 02 6131 03"), Reason.WRONG_TYPE, "a key twice, as a number and as text"),
        ("cbor", bytes.fromhex("a1 8101 02"), Reason.WRONG_TYPE, "a key that is "),
        ("cbor", bytes.fromhex("9bffffffffffffffff"), Reason.MALFORMED, "it ends in the middle, after 9 bytes"),
        ("cbor", b"\x99\x27\x11" + b"\xa0" * 10_001, Reason.TOO_LARGE, "a list of 10,001 readings"),
        ("msgpack", b"\x81\xa1a\xdd\0\x10\0\0" + b"\x80" * 2**20, Reason.TOO_LARGE, "more than 500,000 values"),
        ("msgpack", b"", Reason.MALFORMED, "the payload is empty"),
        ("msgpack", bytes.fromhex("01"), Reason.MALFORMED, "not a whole number"),
        ("msgpack", bytes.fromhex("8080"), Reason.MALFORMED, "trailing"),
        ("msgpack", b"\x91" * 100_000, Reason.MALFORMED, "nested too deeply"),
        ("msgpack", b"\x81\xa1a" + b"\x91" * 50 + b"\0", Reason.MALFORMED, "nested too deeply"),
        ("msgpack", bytes.fromhex("81a161c70105aa"), Reason.MALFORMED, "the extension type 5 can't be read"),
        ("msgpack", bytes.fromhex("ddffffffff"), Reason.MALFORMED, "it ends in the middle, after 5 bytes"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_refused_whole(name: str, payload: bytes, reason: Reason, words: str) -> None:
    error = pf.refusal(pf.decoder(CONTRACT, format=name), payload)
    assert error.reason is reason
    assert words in str(error)


GOOD = {
    "event_time": datetime(2026, 3, 1, tzinfo=UTC),
    "a": 21.5,
    "b": [1, 2],
    "data": b"\1\2",
    "on": True,
    "label": "xyz",
}


def test_any_bytes_are_refused_or_read() -> None:
    rng = random.Random(13)
    for _ in range(2000):
        payload = rng.randbytes(rng.randrange(40))
        for module in (cbor, msgpack):
            try:
                module.parse(payload)
            except PoisonError:
                continue
