"""Small payloads that would become much, or take long: each is refused as a whole, soon and in little memory."""

import gzip
import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from bridge.decoders.base import Refused
from bridge.decoders.compression import unpack
from bridge.decoders.json.elements import loads
from headrace.errors import PoisonError, Reason
from tests.unit import payload_formats as pf
from tests.unit.mapping_world import Make, field, world
from tests.unit.payload_formats import HERE, NOW
from tests.unit.test_format_schemas import CONTRACT as PROTO
from tests.unit.test_format_schemas import described

__all__ = ["world"]
DIGITS = "1" * 5_000


@contextmanager
def quick(megabytes: int = 0) -> Iterator[None]:
    """Less than a second; in less memory than so many megabytes, where they are given."""
    if megabytes:
        tracemalloc.start()
    try:
        began = time.process_time()
        yield
        assert time.process_time() - began < (20 if megabytes else 5)
        assert tracemalloc.get_traced_memory()[1] < megabytes * 2**20 or not megabytes
    finally:
        tracemalloc.stop()


def test_more_digits_than_python_reads_are_no_number() -> None:
    it = pf.contract(t="double", n="long", d={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2})
    csv = pf.decoder(it, format="csv", csv={"columns": ["event_time", "t", "n", "d"]})
    for line in (f"{DIGITS},1,,", f",{DIGITS},,", f",,{DIGITS},", f",,,{DIGITS}"):
        (refused,) = csv.decode(line.encode(), HERE, NOW)
        assert isinstance(refused, Refused)
        assert refused.error.reason is Reason.WRONG_TYPE
    senml = pf.decoder(it, format="senml")
    assert pf.refusal(senml, json.dumps([{"n": "t", "vs": DIGITS}]).encode()).reason is Reason.WRONG_TYPE


def test_what_is_around_a_list_is_weighed_before_it_is_copied(world: Make) -> None:
    route = {"filter": "a/{device_id}", "explode": "rows", "unknown_fields": "ignore"}
    it = world(route, field("x", unit="1"))
    one = {**{f"k{i}": 1 for i in range(4_000)}, "rows": [0] * 9_000}
    for payload in (one, [one, one], [{**one, "rows": [0] * 200}] * 40):
        with quick():
            (found,) = it.rows("a/d", payload)
        assert found[0] is Reason.TOO_LARGE
    assert len(it.rows("a/d", {**one, "rows": [{"x": 1}] * 20})) == 20


def test_what_all_samples_share_is_weighed_before_it_is_copied(world: Make) -> None:
    it = world(
        {"filter": "a/{device_id}", "format": "columns", "unknown_fields": "keep"}, field("x"), field("s", "string")
    )
    base = {"t0": 1_795_428_000, "dt": 1, "x": [1.5] * 10_000}
    for more in ({"s": "a" * 200_000}, {f"k{i}": 1 for i in range(4_000)}, {"k" * 20_000: [1] * 10_000}):
        with quick(150):
            (found,) = it.rows("a/d", orjson.dumps(base | more))
        assert found[0] is Reason.TOO_LARGE
    assert len(it.rows("a/d", orjson.dumps(base | {"s": "a" * 1_000}))) == 10_000


def test_the_names_of_a_csv_are_weighed_before_each_line_has_them() -> None:
    it = pf.decoder(pf.contract(t="double"), format="csv")
    with quick(150):
        assert pf.refusal(it, b"t" * 100_000 + b"\nx,y" * 9_000).reason is Reason.TOO_LARGE


def test_what_is_nested_too_deeply_to_be_written_is_a_dead_letter(world: Make) -> None:
    it = world({"filter": "a/{device_id}", "explode": "rows", "unknown_fields": "ignore"}, field("x", unit="1"))
    for depth in (100, *range(700, 1_000), 10_000):
        deep = "[" * depth + "]" * depth
        payload = f'{{"deep": {deep}, "rows": [{{"x": 1}}, {{"x": "bad"}}]}}'.encode()
        refused = [one for one in it.found("a/d", payload) if isinstance(one, Refused)]
        assert len(refused) == 1
        assert it.decoder.element(payload, 1)


def test_a_cell_of_many_digits_is_looked_at_once() -> None:
    it = pf.decoder(
        pf.contract(t="double"), format="csv", csv={"columns": ["t"], "delimiter": ";", "decimal_comma": True}
    )
    with quick():
        (refused,) = it.decode(b"1" * 100_000, HERE, NOW)
    assert isinstance(refused, Refused)
    assert pf.rows(pf.contract(t="double"), it.decode(b"-1,5e3", HERE, NOW))[0]["t"] == -1500.0


@pytest.mark.parametrize(("kind", "empty"), [("gzip", gzip.compress(b"")), ("zstd", zstandard.compress(b""))])
def test_streams_one_behind_the_other_are_few(kind: Any, empty: bytes) -> None:
    assert unpack(empty * 100, kind) == b""
    with quick(), pytest.raises(PoisonError, match="more than 100 streams"):
        unpack(empty * 100_000, kind)


def test_a_long_text_beside_a_bare_word_takes_little_memory() -> None:
    payload = b'{"x":NaN,"s":"' + b"a" * 2**20 + b"\\n" * 2**18 + b'"}'
    with quick(20):
        assert len(loads(payload)["s"]) == 2**20 + 2**18


def test_fields_that_a_descriptor_lacks_are_weighed_before_they_are_made(tmp_path: Path) -> None:
    it = pf.decoder(PROTO, format="protobuf", protobuf=described(tmp_path).model_dump())
    with quick():
        error = pf.refusal(it, bytes.fromhex("980600") * 700_000)
    assert error.reason is Reason.TOO_LARGE
    assert "Write it anew" in str(error)
