"""Packed binary messages: an IMU packet, a vibration packet, layouts and packets with faults."""

import re
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.packed import Packed
from headrace.errors import Reason
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
CONTRACT = pf.contract(
    sequence="long", ax="double", ay="double", az="double", gx="double", gy="double", gz="double", a="double",
    temperature="double", label="string", counts=({"type": "array", "items": "int"}, {"max_items": 8}),
)  # fmt: skip
T = 1_700_000_000_000_000


def documented(name: str) -> dict[str, Any]:
    """The section `packed` of the page's example whose route has `name` in its filter."""
    block = next(
        b for b in re.findall(r"\n\n((?:    .*\n|\n)+)", PAGE.read_text()) if f"}}/{name}\n" in b and "packed:" in b
    )
    (stream,) = yaml.safe_load(block)["streams"].values()
    found: dict[str, Any] = stream["routes"][0]["packed"]
    return found


def read(payload: bytes, **layout: Any) -> list[dict[str, Any]]:
    return pf.rows(CONTRACT, pf.decoder(CONTRACT, format="packed", packed=layout).decode(payload, HERE, NOW))


def test_the_imu_packet_of_the_page() -> None:
    # At 2 g 16384 counts a g (InvenSense PS-MPU-6000A, 6.2); at 250 degrees a second 131 counts each (6.1)
    head = struct.pack("<BHQB", 1, 7, T, 2)
    samples = struct.pack("<6h", 16384, -16384, 0, 131, -131, 0) + struct.pack("<6h", 0, 0, 8192, 0, 0, 262)
    first, second = read(head + samples + b"\xab\xcd", **documented("imu"))
    assert (first["event_time"], second["event_time"]) == (T, T + 9_615)  # 104 a second
    assert (first["sequence"], second["sequence"]) == (7, 7)
    assert [first[k] for k in ("ax", "ay", "az")] == pytest.approx([9.80665, -9.80665, 0])
    assert [first["gx"], second["gz"]] == pytest.approx([0.0174532925, 2 * 0.0174532925])


def test_a_vibration_packet_of_a_24_bit_converter() -> None:
    # 24 bits, two's complement, the highest byte first (TI ADS1256, SBAS288, ideal output codes: 7FFFFF is full scale)
    samples = bytes.fromhex("7fffff 000001 ffffff 800000")
    head = struct.pack(">4sIHh", b"VIB1", 1_700_000_000, 25_600, -125)
    header = ["char[4] _", "u32 time", "u16 rate", "i16 temperature / 10"]
    sample = ["i24 a * 2.5 / 8388608"]
    found = read(head + samples, order="big", header=header, sample=sample, time="time", rate="rate")
    assert [row["event_time"] - T for row in found] == [0, 39, 78, 117]
    scale = 2.5 / 8_388_608
    assert [row["a"] for row in found] == [2.5 - scale, scale, -scale, -2.5]
    assert {row["temperature"] for row in found} == {-12.5}


def test_every_type_reads_what_struct_writes() -> None:
    codes = {
        "u8": "B",
        "i8": "b",
        "u16": "H",
        "i16": "h",
        "u32": "I",
        "i32": "i",
        "u64": "Q",
        "i64": "q",
        "f32": "f",
        "f64": "d",
    }
    for name, code in codes.items():
        for order, sign in (("little", "<"), ("big", ">")):
            data = struct.pack(sign + code, 100)
            assert read(data, order=order, header=[f"{name} a"]) == [{"event_time": NOW, "a": 100}]
            if name not in {"u8", "i8"}:
                other = {"little": "be", "big": "le"}[order]
                turned = struct.pack({"<": ">", ">": "<"}[sign] + code, 100)
                assert read(data + turned, order=order, header=[f"{name} a", f"{name}{other} ax"])[0]["ax"] == 100
    assert read(b"\x01\x02\xff", order="big", header=["u24 a"])[0]["a"] == 0x0102FF
    assert read(b"hi\0\0\x01\xff\x02", header=["char[4] label", "i8[3] counts"]) == [
        {"event_time": NOW, "label": "hi", "counts": [1, -1, 2]}
    ]


def test_scales_offsets_and_bytes_that_say_nothing() -> None:
    assert read(b"\xd7\0", header=["u16 a / 10"])[0]["a"] == 21.5
    assert read(b"\xd7\0", header=["u16 a / 10 - 40"])[0]["a"] == -18.5
    assert read(b"\x03\0", header=["u16 a * 0.5 + 1e1"])[0]["a"] == 11.5
    assert read(b"\0\0\x05", header=["u16 _", "u8 a"])[0]["a"] == 5
    assert read(b"\x02\x05", header=["u8 v = 0x02", "u8 a"]) == [{"event_time": NOW, "a": 5}]
    assert read(b"\x05\x06\x01", sample=["u8 a"], trailer=["u8 temperature"]) == [
        {"event_time": NOW, "a": 5, "temperature": 1},
        {"event_time": NOW, "a": 6, "temperature": 1},
    ]


def test_the_time_base() -> None:
    late = {"header": ["u32 t + 946684800"], "sample": ["u8 a"], "time": "t", "step": 50, "step_unit": "ms"}
    since_2000 = struct.pack("<I", 1_700_000_000 - 946_684_800)
    assert [r["event_time"] - T for r in read(since_2000 + b"\1\2\3", **late)] == [0, 50_000, 100_000]
    told = {
        "header": ["u64 t", "u16 per", "u8 n"],
        "sample": ["u8 a"],
        "time": "t",
        "step": "per",
        "unit": "us",
        "count": "n",
    }
    assert [r["event_time"] - T for r in read(struct.pack("<QHB", T, 7, 2) + b"\1\2", **told)] == [0, 7]
    each = {"sample": ["u64 t", "u8 a"], "time": "t", "unit": "ns"}
    assert [r["event_time"] for r in read(struct.pack("<QBQB", T * 1000, 1, T * 1000 + 2999, 2), **each)] == [T, T + 2]
    assert read(struct.pack("<QB", T, 9), header=["u64 t", "u8 a"], time="t", unit="us") == [{"event_time": T, "a": 9}]


@given(st.lists(st.tuples(st.integers(-(2**23), 2**23 - 1), st.integers(-(2**15), 2**15 - 1)), max_size=40))
def test_samples_come_back_as_they_were_packed(samples: list[tuple[int, int]]) -> None:
    payload = bytes([len(samples)]) + b"".join(
        a.to_bytes(3, "big", signed=True) + struct.pack("<h", x) for a, x in samples
    )
    it = pf.decoder(
        CONTRACT, format="packed", packed={"header": ["u8 n"], "sample": ["i24be a", "i16 ax / 4"], "count": "n"}
    )
    found = it.decode(payload, HERE, NOW)
    if samples:
        assert [(row["a"], row["ax"]) for row in pf.rows(CONTRACT, found)] == [(a, x / 4) for a, x in samples]
    else:
        assert str(found) == "[Skipped(why='empty')]"


LAYOUT = {"header": ["u8 v = 1", "u8 n", "char[4] label"], "sample": ["i16 a", "f32 ax"], "count": "n"}
GOOD = struct.pack("<BB4shfhf", 1, 2, b"abcd", 5, 0.5, 6, 1.5)


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", Reason.MALFORMED, "the payload is empty"),
        (GOOD[:-1], Reason.MALFORMED, "11 bytes of samples, and one of the layout has 6"),
        (GOOD[:-6], Reason.MALFORMED, "n: 2 samples are promised, and there are 1"),
        (b"\x02" + GOOD[1:], Reason.MALFORMED, "v: the layout is for 1, and the payload has another number there"),
        (GOOD.replace(b"abcd", b"\xff\xfecd"), Reason.WRONG_TYPE, "label: text in UTF-8 expected"),
    ],
)
def test_what_does_not_fit_the_layout_is_refused_whole(payload: bytes, reason: Reason, words: str) -> None:
    error = pf.refusal(pf.decoder(CONTRACT, format="packed", packed=LAYOUT), payload)
    assert error.reason is reason
    assert words in str(error)


def test_samples_have_a_bound() -> None:
    it = pf.decoder(CONTRACT, format="packed", packed={"sample": ["u8 a"]})
    assert pf.refusal(it, bytes(10_001)).reason is Reason.TOO_LARGE
    assert len(it.decode(bytes(10_000), HERE, NOW)) == 10_000


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({}, "nothing is described. Give header, sample, or both"),
        ({"header": ["i16"]}, "'i16': a field is written as `i16 ax`"),
        ({"header": ["x8 a"]}, "x8 is no type. Use u8, i8, u16"),
        ({"header": ["f24 a"]}, "f24 is no type"),
        ({"header": ["char a"]}, "say how many in brackets"),
        ({"header": ["u8[0] a"]}, "say how many in brackets"),
        ({"header": ["u16 a * 0"]}, "a scale of 0 leaves nothing"),
        ({"header": ["u16 a * 1e999"]}, "1e999 is no number"),
        ({"header": ["u16 _ / 10"]}, "only a number with a name has"),
        ({"header": ["f32 a = 1"]}, "only one whole number without scale"),
        ({"header": ["u8 a", "u8 a"]}, "a is there twice"),
        ({"header": ["char[65536] a", "u8 b"]}, "header: it may have up to 65,536 bytes"),
        ({"header": ["u8 n"], "count": "m", "sample": ["u8 a"]}, "count: m is no whole number of the header"),
        ({"header": ["u8 n"], "count": "n"}, "count: there are no samples"),
        ({"header": ["u8 a"], "time": "t"}, "time: t is no number of the header or the sample"),
        ({"header": ["u8 t"], "sample": ["u8 a"], "time": "t"}, "time: it is the first sample's. Give `step` or"),
        ({"sample": ["u8 t"], "time": "t", "step": 1}, "step or rate: it needs `time`, the header's field"),
        ({"header": ["u8 t"], "sample": ["u8 a"], "time": "t", "step": "x"}, "step: x is neither a number nor"),
        ({"header": ["u8 t"], "sample": ["u8 a"], "time": "t", "rate": 0}, "rate"),
        ({"header": ["u8 t"], "sample": ["u8 a"], "time": "t", "rate": 1, "step": 1}, "step and rate say the same"),
    ],
)  # fmt: skip
def test_a_layout_that_can_not_be_is_refused_in_words(layout: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Packed.model_validate(layout)


def test_the_format_needs_its_layout() -> None:
    with pytest.raises(ValueError, match="format packed needs settings, in a section packed"):
        pf.decoder(CONTRACT, format="packed")


TIMED = {"header": ["f64 t", "u8 per"], "sample": ["u8 a"], "time": "t", "step": "per"}


def test_a_receipt_names_the_time_of_the_first_sample() -> None:
    it = pf.decoder(
        CONTRACT,
        format="packed",
        packed={"header": ["u64 t"], "sample": ["u8 a"], "time": "t", "unit": "us", "step": 1},
    )
    assert it.marks(struct.pack("<QB", T, 1)) == {"event_time": "2023-11-14T22:13:20+00:00"}
