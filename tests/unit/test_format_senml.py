"""SenML: the examples of RFC 8428, the older form that benchmarks have, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Reading
from bridge.decoders.senml import parse
from headrace.config.formats import Senml
from headrace.errors import Reason
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

ROOT = Path(__file__).resolve().parents[2]
SYS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data")) / "RIoTBench" / "SYS_sample_data_senml.csv"
CONTRACT = pf.contract(
    voltage="double", current="double", temp="double", value="double", label="string", open="boolean", data="bytes",
    sensor="string", energy_sum="double", energy="double",
)  # fmt: skip
BASE = "urn:dev:ow:10e2073a0108006:"
RECORDS = (
    b'[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},'
    b'{"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},'
    b'{"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]'
)  # RFC 8428, 5.1.2
CBOR = bytes.fromhex(
    "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c7461"
    "676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3ff4cc"
    "cccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e7406"
    "2002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333"
)  # RFC 8428, 6
ROWS = [
    {"event_time": 1_276_020_076_001_000, "voltage": 120.1, "current": 1.7},
    *({"event_time": 1_276_020_071_001_000 + i * 1_000_000, "current": round(1.2 + i / 10, 1)} for i in range(5)),
]


def read(payload: bytes, **settings: Any) -> list[dict[str, Any]]:
    return pf.rows(CONTRACT, pf.decoder(CONTRACT, format="senml", senml=settings).decode(payload, HERE, NOW))


def test_the_measurements_of_one_time_are_one_reading() -> None:
    assert read(RECORDS) == ROWS
    assert read(RECORDS, name="sensor") == [{**row, "sensor": BASE} for row in ROWS]


def test_json_is_read_as_that_of_other_formats() -> None:
    assert read(b"\xef\xbb\xbf " + RECORDS + b"\0") == ROWS
    assert read(b'[{"n":"temp","t":1700000000,"v":NaN}]') == [
        {"event_time": 1_700_000_000_000_000, "_quality": "temp:not_finite:null"}
    ]
    error = pf.refusal(pf.decoder(CONTRACT, format="senml"), b'[{"n":"temp","v":1')
    assert "not JSON: it ends in the middle, after 18 bytes" in str(error)


def test_cbor_says_the_same() -> None:
    assert read(CBOR) == ROWS


def test_resolved_records_say_the_same() -> None:  # RFC 8428, 5.1.4
    resolved = [
        {"n": f"{BASE}{key}", "t": row["event_time"] / 1_000_000, "v": row[key]}
        for row in ROWS
        for key in ("voltage", "current")
        if key in row
    ]
    assert read(json.dumps(resolved).encode(), name="sensor") == read(RECORDS, name="sensor")


def test_kinds_of_values() -> None:  # RFC 8428, 5.1.5
    payload = (
        b'[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},'
        b'{"n":"open","vb":false},{"n":"data","vd":"aGkgCg"},{"n":"energy","v":3,"s":4.5}]'
    )
    expected = {"temp": 23.1, "label": "Machine Room", "open": False, "data": b"hi \n", "energy": 3, "energy_sum": 4.5}
    assert read(payload) == [{"event_time": NOW, **expected}]


def test_a_record_with_the_base_name_alone_has_a_key_of_the_route() -> None:  # RFC 8428, 5.1.3, shortened
    payload = b'[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"v":20},{"t":60,"v":20.3}]'
    assert [row["value"] for row in read(payload)] == [20, 20.3]
    assert [row["temp"] for row in read(payload, value="temp")] == [20, 20.3]


def test_two_values_of_one_name_and_time_are_two_readings() -> None:
    payload = b'[{"bn":"s:","bt":1320067464,"n":"temp","v":1},{"n":"voltage","v":5},{"n":"temp","v":2}]'
    assert [(row["temp"], row.get("voltage")) for row in read(payload)] == [(1, 5), (2, None)]


def test_base_values_and_sums_are_added_exactly() -> None:
    payload = b'[{"bn":"s:","bv":0.1,"bs":100,"n":"energy","v":0.2,"s":1},{"n":"temp"},{"n":"label","vs":"x"}]'
    (row,) = read(payload)
    assert (row["energy"], row["energy_sum"], row["temp"], row["label"]) == (0.3, 101, 0.1, "x")


def test_times_below_2_to_the_28_count_from_when_the_message_came() -> None:  # RFC 8428, 4.5.3
    it = pf.decoder(CONTRACT, format="senml")
    found = it.decode(b'[{"n":"s:temp","v":1,"t":-0.5},{"n":"s:temp","v":2},{"n":"s:temp","v":3,"t":10}]', HERE, NOW)
    assert [row["event_time"] - NOW for row in pf.rows(CONTRACT, found)] == [-500_000, 0, 10_000_000]
    assert [one.identified for one in found if isinstance(one, Reading)] == [False] * 3


def test_a_unit_that_the_route_names_is_checked() -> None:
    payload = b'[{"n":"s:temp","u":"Cel","v":1},{"n":"s:voltage","v":1}]'
    assert read(payload, units={"temp": "Cel"}) == read(payload)
    it = pf.decoder(CONTRACT, format="senml", senml={"units": {"temp": "K"}})
    assert "record 1: temp: the unit is 'Cel', and the route says 'K'" in str(pf.refusal(it, payload))


def test_the_older_form_with_numbers_as_text() -> None:
    # RIoTBench, modules/tasks/src/main/resources/SYS_sample_data_senml.csv, shortened
    payload = (
        b'{"e":[{"u":"string","n":"label","sv":"ci4lr75sl000802ypo4qrcjda23"},{"v":"8","u":"far","n":"temp"},'
        b'{"v":"411.02","u":"per","n":"current"}],"bt":1422748800000,"bn":"s"}'
    )
    expected = {
        "event_time": 1_422_748_800_000_000,
        "label": "ci4lr75sl000802ypo4qrcjda23",
        "temp": 8,
        "current": 411.02,
    }
    assert read(payload, unit="ms") == [expected]


def test_every_number_may_be_text() -> None:
    # RIoTBench, modules/tasks/src/main/resources/FIT_sample_data_senml.csv: "bt":"1417890600000"
    as_text = b'{"e":[{"n":"energy","v":"0.2","s":"1e0","t":"-5.5"}],"bt":"1276020076001","bv":"0.1","bs":"-100"}'
    bare = b'{"e":[{"n":"energy","v":0.2,"s":1,"t":-5.5}],"bt":1276020076001,"bv":0.1,"bs":-100}'
    expected = {"event_time": 1_276_020_075_995_500, "energy": 0.3, "energy_sum": -99}
    assert read(as_text, unit="ms") == read(bare, unit="ms") == [expected]


@pytest.mark.parametrize("text", ["", " 5", "0x10", "1_000", "nan", "Infinity", "1e999", "9" * 60, "1e-99", "٣"])
def test_other_text_is_no_number(text: str) -> None:
    error = pf.refusal(pf.decoder(CONTRACT, format="senml"), json.dumps([{"n": "temp", "v": 1, "bt": text}]).encode())
    assert (error.reason, error.field) == (Reason.WRONG_TYPE, "bt")


@pytest.mark.recordings
@pytest.mark.skipif(not SYS.exists(), reason=f"no {SYS}: set RECORDINGS to the folder that has RIoTBench")
def test_riotbench_is_read_whole() -> None:
    lines = SYS.read_text().splitlines()
    keys = ("longitude", "latitude", "temperature", "humidity", "light", "dust", "airquality_raw")
    it = pf.contract(source="string", **dict.fromkeys(keys, "double"))
    decoder = pf.decoder(it, format="senml", senml={"unit": "ms"})
    rows = [pf.rows(it, decoder.decode(line.split(",", 1)[1].encode(), HERE, NOW)) for line in lines]
    assert len(rows) == 1000
    assert all(len(found) == 1 and found[0].keys() == {"event_time", "source", *keys} for found in rows)
    assert [rows[0][0][key] for key in keys] == [6.1668213, 46.1927629, 8, 53.7, 0, 411.02, 140]


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", Reason.MALFORMED, "the payload is empty"),
        (b"{}", Reason.MALFORMED, "a list of records expected"),
        (b"[1]", Reason.MALFORMED, "record 1: an object expected"),
        (b'[{"n":"t","v":1},{"v":1}]', Reason.MISSING_FIELD, "record 2: neither it nor a record before it has a name"),
        (b'[{"n":"t"}]', Reason.MISSING_FIELD, "record 1: t: no value"),
        (b'[{"n":"t","v":1,"vs":"x"}]', Reason.MALFORMED, "record 1: t: v and vs, where one value is expected"),
        (b'[{"n":"t","v":true}]', Reason.WRONG_TYPE, "record 1: t: v has a value of the wrong kind"),
        (b'[{"n":"t","v":1,"mine_":1}]', Reason.UNKNOWN_FIELD, "record 1: the label 'mine_' is not known"),
        (b'[{"bver":11,"n":"t","v":1}]', Reason.MALFORMED, "SenML up to version 10 is read"),
        (b'[{"n":"t","v":1,"t":"now"}]', Reason.WRONG_TYPE, "record 1: t: a number expected"),
        (b'[{"n":"t","v":1,"t":1e17}]', Reason.OUT_OF_RANGE, "outside the years 1 to 9999"),
        (b'[{"n":"t","v":1,"t":-1e17}]', Reason.OUT_OF_RANGE, "years before the message came"),
        (b'[{"n":5,"v":1}]', Reason.WRONG_TYPE, "record 1: n: text expected"),
        (b"[" * 5000, Reason.MALFORMED, "nested too deeply"),
        (b"[" + b"0," * 50_000 + b"0]", Reason.TOO_LARGE, "50,001 records"),
    ],
)  # fmt: skip
def test_what_is_no_senml_is_refused_whole(payload: bytes, reason: Reason, words: str) -> None:
    error = pf.refusal(pf.decoder(CONTRACT, format="senml"), payload)
    assert (error.reason, words in str(error)) == (reason, True), error


@given(
    st.lists(
        st.tuples(st.sampled_from(["temp", "voltage"]), st.integers(3 * 10**8, 10**9), st.floats(-1e9, 1e9)), min_size=1
    )
)
def test_no_record_is_lost(samples: list[tuple[str, int, float]]) -> None:
    records: list[dict[str, Any]] = [{"n": f"s:{n}", "t": t, "v": v} for n, t, v in samples]
    labels = {"n": 0, "t": 6, "v": 2}
    for payload in (json.dumps(records).encode(), cbor2.dumps([{labels[k]: r[k] for k in r} for r in records])):
        rows = parse(payload, Senml())
        told = [(k, row["event_time"].timestamp(), row[k]) for row in rows for k in ("temp", "voltage") if k in row]
        assert sorted(told) == sorted(samples)
