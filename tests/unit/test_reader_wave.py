"""WAV files as tables: written by the standard library, or by the format's specification where that can't."""

import gzip
import math
import struct
import wave as stdlib
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.readers import formats, wave
from headrace.readers.source import Source
from tests.unit.reading import read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.wav"


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def wav(fmt: bytes, data: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    body = b"WAVE" + before + chunk(b"fmt ", fmt) + chunk(b"data", data) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def fmt(kind: int, channels: int, bits: int, rate: int = 100, size: int = 0) -> bytes:
    size = size or bits // 8
    return struct.pack("<HHIIHH", kind, channels, rate, rate * channels * size, channels * size, bits)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("width", "kind"), [(1, "uint8"), (2, "int16"), (3, "int32"), (4, "int32")])
def test_integers_as_the_standard_library_writes_them(file: Path, width: int, kind: str, channels: int) -> None:
    low, high = (0, 255) if width == 1 else (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    values = [low, high, 0, 1, low + 1, high - 1, 100, 7, 8]
    data = b"".join(v.to_bytes(width, "little", signed=width > 1) for v in values)
    with stdlib.open(str(file), "wb") as out:
        out.setparams((channels, width, 104, 0, "NONE", ""))
        out.writeframes(data)
    it = read(wave, file)
    assert list(it.columns.values()) == [values[i::channels] for i in range(channels)]
    assert set(it.types.values()) == {kind}
    assert (it.table.rate, it.table.start, it.table.rows, it.table.notes) == (104.0, None, 9 // channels, ())


@pytest.mark.parametrize(("bits", "code", "kind"), [(32, "f", "float"), (64, "d", "double")])
def test_floats(file: Path, bits: int, code: str, kind: str) -> None:
    values = [0.5, -1.25, 3.0e10, math.inf]
    data = struct.pack(f"<4{code}", *values)
    file.write_bytes(wav(fmt(3, 2, bits) + b"\0\0", data, before=chunk(b"fact", bytes(4))))
    it = read(wave, file)
    assert list(it.columns.values()) == [[0.5, struct.unpack(f"<{code}", data[2 * bits // 8 :][: bits // 8])[0]],
                                         [-1.25, math.inf]]  # fmt: skip
    assert set(it.types.values()) == {kind}


def test_extensible_with_bits_that_are_padding(file: Path) -> None:
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    file.write_bytes(wav(fmt(0xFFFE, 1, 16) + struct.pack("<HHI", 22, 12, 4) + guid, struct.pack("<2h", 16, -32)))
    it = read(wave, file)
    assert it.columns == {"0": [16, -32]}
    assert it.table.notes == ("12 bits in 16: the lowest bits of a sample are padding",)


def test_chunks_around_are_passed_over(file: Path) -> None:
    junk = chunk(b"JUNK", b"x" * 100_001) + chunk(b"LIST", b"INFO")
    file.write_bytes(wav(fmt(1, 1, 16), struct.pack("<3h", 1, 2, 3), before=junk, after=chunk(b"LIST", b"y" * 50)))
    it = read(wave, file)
    assert (it.columns, it.error) == ({"0": [1, 2, 3]}, "")


@pytest.mark.parametrize(
    ("date", "time", "samples", "start"),
    [
        (b"2026-11-28", b"10:00:05", 0, "2026-11-28 10:00:05"),
        (b"2026:11:28", b"10-00-05", (36_005 * 100) + 25, "2026-11-28 10:00:05.250000"),
        (b"2026-11-28", b"10:00:05", 2**63, "2026-11-28 10:00:05"),
        (bytes(10), bytes(8), 0, None), (b"2026-13-28", b"10:00:05", 0, None),
    ],
)  # fmt: skip
def test_the_start_of_a_broadcast_wav(file: Path, date: bytes, time: bytes, samples: int, start: str | None) -> None:
    bext = bytes(320) + date + time + struct.pack("<Q", samples) + bytes(256)
    file.write_bytes(wav(fmt(1, 1, 16), bytes(2), before=chunk(b"bext", bext)))
    found = read(wave, file).table.start
    assert (found and str(found)) == start


def test_files_of_more_than_4_gb(file: Path) -> None:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, 6, 3, 0))
    body = wav(fmt(1, 1, 16), struct.pack("<3h", 1, 2, 3), before=sizes, after=chunk(b"LIST", b"abcd"))
    at = body.index(b"data") + 4
    for name in (b"RF64", b"BW64"):
        file.write_bytes(name + b"\xff" * 4 + body[8:at] + b"\xff" * 4 + body[at + 4 :])
        it = read(wave, file)
        assert (it.columns, it.table.rows) == ({"0": [1, 2, 3]}, 3)


@pytest.mark.parametrize(("riff", "data"), [(0, 0), (36, 0), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_header_without_a_length_is_read_to_the_end(file: Path, riff: int, data: int) -> None:
    body = bytearray(wav(fmt(1, 1, 16), struct.pack("<3h", 1, 2, 3)))
    body[4:8], body[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    file.write_bytes(body)
    it = read(wave, file)
    assert (it.columns, it.table.rows) == ({"0": [1, 2, 3]}, None)
    assert it.table.notes == ("the header tells no length: samples up to the end of the file",)


def test_an_empty_recording_stays_empty(file: Path) -> None:
    file.write_bytes(wav(fmt(1, 1, 16), b"", after=chunk(b"LIST", b"abcd")))
    assert read(wave, file).columns == {"0": []}


def test_half_a_row_at_the_end_is_left_out(file: Path) -> None:
    file.write_bytes(wav(fmt(1, 2, 16), struct.pack("<3h", 1, 2, 3)))
    it = read(wave, file)
    assert (it.columns, it.error) == ({"0": [1], "1": [2]}, "")
    assert [(o.number, o.place, o.reason, o.text) for o in it.left_out] == [
        (1, "sample 1", "half a row at the end", "0300")
    ]


def test_a_file_that_ends_early_gives_its_rows_and_an_error_with_the_way_out(file: Path) -> None:
    whole = wav(fmt(1, 1, 16), struct.pack("<30000h", *range(30_000)))
    file.write_bytes(whole[:-10_001])
    it = read(wave, file)
    assert it.columns["0"] == it.numbers == list(range(24_999))
    assert "it ends after row 24998, 10,001 bytes before its header says" in it.error
    it = read(wave, file, length="file")
    assert (it.numbers, it.error, len(it.left_out)) == (list(range(24_999)), "", 1)
    packed = file.with_name("x.wav.gz")
    packed.write_bytes(gzip.compress(whole))
    assert read(wave, packed).numbers == list(range(30_000))
    packed.write_bytes(gzip.compress(whole)[:-20_000])
    it = read(wave, packed)
    assert "a broken gzip file" in it.error
    assert it.columns["0"] == it.numbers
    assert len(it.numbers) > 5000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (wav(fmt(7, 1, 8), b"a"), "mu-law, 8 bits, 1 channels in 1 bytes, 100 Hz"),
        (wav(fmt(1, 1, 64), b""), "64 bits"),
        (wav(fmt(1, 0, 16), b""), "0 channels"), (wav(fmt(1, 1, 16, 0), b""), "0 Hz"),
        (wav(b"", b"a"), "no chunk `fmt `"),
        (wav(fmt(1, 1, 16), b"")[:36], "no chunk `data`"), (wav(fmt(1, 1, 16), b"")[:14], "no chunk `data`"),
    ],
)  # fmt: skip
def test_what_is_not_read(file: Path, data: bytes, words: str) -> None:
    file.write_bytes(data)
    with Source(file) as source:
        assert formats.recognise(source) == "wave"
        with pytest.raises(ConfigError) as e:
            formats.open_file(source, {})
    assert str(e.value).startswith(f"{file}: ")
    assert words in str(e.value)
