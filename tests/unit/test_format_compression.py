"""Compressed payloads: every kind, damage, bombs, and dead letters that can be sent again."""

import gzip
import zlib
from itertools import product
from typing import get_args

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Reading, Refused
from bridge.decoders.compression import MAX_BYTES, pack, unpack
from headrace.config.formats import Compression
from headrace.errors import PoisonError, Reason
from tests.fuzz import mutate
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

CONTRACT = pf.contract(a="double")
KINDS: tuple[Compression, ...] = ("gzip", "zstd", "deflate")
PLAIN = b'[{"a": 1}, {"a": "x"}, {"a": 2}]'


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("kind", KINDS)
def test_readings_and_dead_letters_of_a_compressed_array(kind: Compression) -> None:
    it = pf.decoder(CONTRACT, format="json", compression=kind)
    payload = pack(PLAIN, kind)
    one, bad, two = it.decode(payload, HERE, NOW)
    assert isinstance(one, Reading)
    assert isinstance(two, Reading)
    assert isinstance(bad, Refused)
    assert unpack(bad.original, kind) == b'{"a": "x"}'
    assert it.element(payload, 1) == bad.original
    whole = pack(b'{"a": "x"}', kind)
    (refused,) = it.decode(whole, HERE, NOW)
    assert isinstance(refused, Refused)
    assert refused.original == whole
    assert it.marks(pack(b'{"a": 1, "event_time": 7}', kind)) == {"event_time": 7}
    assert it.marks(b"\xff") == {"event_time": None}


def test_a_dead_letter_of_the_whole_is_the_payload_as_it_came() -> None:
    payload = gzip.compress(b'{"a": "x"}', 1, mtime=99)  # not the bytes that `pack` would make
    assert pf.refusal(pf.decoder(CONTRACT, compression="gzip"), payload).field == "a"


def test_each_format_can_be_compressed_and_what_was_left_out_is_counted() -> None:
    it = pf.decoder(CONTRACT, format="packed", packed={"sample": ["u8 a", "u8 b"]}, compression="zstd")
    assert len(it.decode(zstandard.compress(b"\1\2\3\4"), pf.LOOSE, NOW)) == 2
    assert it.ignored == 2
    it.ignored = 0
    assert it.ignored == 0


@given(st.binary(max_size=2000), st.integers(1, 3))
def test_what_is_packed_comes_back(data: bytes, parts: int) -> None:
    for kind in KINDS:
        assert unpack(pack(data, kind), kind) == data
        assert pack(data, kind) == pack(data, kind)
    assert unpack(raw_deflate(data), "deflate") == data
    assert unpack(gzip.compress(data) * parts, "gzip") == data * parts
    assert unpack(zstandard.compress(data) * parts, "zstd") == data * parts
    assert unpack(pack(data, "gzip"), "auto") == unpack(pack(data, "zstd"), "auto") == data
    assert unpack(data, "none") == data


def test_auto_takes_what_is_not_compressed_as_it_is() -> None:
    it = pf.decoder(CONTRACT, compression="auto")
    for payload in (PLAIN, gzip.compress(PLAIN), zstandard.compress(PLAIN)):
        found = it.decode(payload, HERE, NOW)
        assert [type(f) for f in found] == [Reading, Refused, Reading]
        assert isinstance(found[1], Refused)
        assert unpack(found[1].original, "auto") == b'{"a": "x"}'


BOMBS: dict[Compression, bytes] = {kind: pack(bytes(MAX_BYTES + 1), kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_refused_before_it_is_there(kind: Compression) -> None:
    it = pf.decoder(CONTRACT, compression=kind)
    error = pf.refusal(it, BOMBS[kind])
    assert error.reason is Reason.TOO_LARGE
    assert f"more than 4 MiB, once its {kind} is unpacked" in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_a_dead_letter_that_says_so(kind: Compression) -> None:
    it = pf.decoder(CONTRACT, compression=kind)
    good = pack(PLAIN, kind)
    for payload in (b"", PLAIN, good[:-3], good[:9], good + b"junk"):
        error = pf.refusal(it, payload)
        assert error.reason is Reason.MALFORMED
        assert f"not {kind}, or damaged" in str(error)


def test_plain_json_is_told_the_setting_when_it_is_compressed() -> None:
    assert "Set `compression: gzip` in the route" in str(pf.refusal(pf.decoder(CONTRACT), gzip.compress(PLAIN)))


def test_a_damaged_bomb_is_refused_too() -> None:
    for number, kind in product(range(10), get_args(Compression)):
        try:
            assert len(unpack(mutate.payload(tuple(BOMBS.values()), str(number)), kind)) <= MAX_BYTES
        except PoisonError:
            continue
