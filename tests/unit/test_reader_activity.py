"""GENEActiv's and Axivity's files as tables: bytes by the makers' specifications."""

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.readers import activity, formats
from headrace.readers.source import Source
from tests.unit.reading import read

pytest.importorskip("actfast", reason="actfast is not installed")
AT = datetime(2026, 11, 28, 10, 0, 0, tzinfo=UTC).replace(tzinfo=None)
HEAD = """Device Identity
Device Unique Serial Code:012345
Device Type:GENEActiv
Device Model:1.1

Configuration Info
Measurement Frequency:100 Hz

Calibration Data
x gain:25000
x offset:100
y gain:25000
y offset:-200
z gain:25000
z offset:0
Volts:300
Lux:800

Memory Status
Number of Pages:2

"""
PAGE = """Recorded Data
Device Unique Serial Code:012345
Sequence Number:{page}
Page Time:2026-11-28 10:00:0{second}:000
Unassigned:
Temperature:21.5
Battery voltage:4.1000
Device Status:Recording
Measurement Frequency:100.0
{samples}
"""


def geneactiv() -> bytes:
    samples = "".join(
        f"{((i - 150) & 0xFFF) << 36 | (-i & 0xFFF) << 24 | 256 << 12 | (i % 1024) << 2 | (i == 5) << 1:012X}"
        for i in range(300)
    )
    # The reader wants 59 lines before the first page.
    head = HEAD.splitlines()
    head[4:4] = [f"Note {i}:" for i in range(59 - len(head))]
    pages = "".join(PAGE.format(page=i, second=3 * i, samples=samples) for i in range(2))
    return ("\n".join(head) + "\n" + pages).replace("\n", "\r\n").encode()


def test_geneactiv(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(geneactiv())
    with Source(path) as source:
        assert formats.recognise(source) == "activity"
    it, slow = read(activity, path), read(activity, path, 1)
    assert list(it.columns) == [
        "datetime",
        "acceleration.x",
        "acceleration.y",
        "acceleration.z",
        "button_state",
        "light",
    ]
    assert it.columns["acceleration.x"] == pytest.approx([((i - 150) * 100 - 100) / 25000 for i in range(300)] * 2)
    assert it.columns["acceleration.y"] == pytest.approx([(-i * 100 + 200) / 25000 for i in range(300)] * 2)
    assert it.columns["acceleration.z"] == pytest.approx([1.024] * 600)
    assert [i for i, on in enumerate(it.columns["button_state"]) if on] == [5, 305]
    assert [t.to_pydatetime() for t in it.columns["datetime"]] == [
        AT + timedelta(milliseconds=10 * i) for i in range(600)
    ]
    assert (it.table.name, slow.table.name, slow.numbers) == ("high_frequency", "low_frequency", [0, 1])
    assert it.table.columns[1].unit == "g"


def cwa() -> bytes:
    """Two blocks of 80 samples of an AX3, packed not: three signed shorts of 1/256 g each, at 100 Hz."""
    head = bytearray(b"\xff" * 1024)
    head[:4] = struct.pack("<2sH", b"MD", 1020)
    head[4] = 0
    head[36] = 0x4A
    stamp = (26 << 26) | (11 << 22) | (28 << 17) | (10 << 12)
    out = bytes(head)
    for block in range(2):
        told = struct.pack(
            "<2sHHIIIHHBBBBhH", b"AX", 508, 0, 0, block, stamp, 300 | 1 << 10, 512, 0, 200, 0x4A, 0x32, -80 * block, 80
        )
        samples = b"".join(struct.pack("<3h", i, 256, -i) for i in range(80))
        data = told + samples
        total = sum(struct.unpack("<255H", data)) & 0xFFFF
        out += data + struct.pack("<H", -total & 0xFFFF)
    return out


def test_axivity(tmp_path: Path) -> None:
    path = tmp_path / "x.cwa"
    path.write_bytes(cwa())
    with Source(path) as source:
        assert formats.recognise(source) == "activity"
    it = read(activity, path)
    assert it.columns["acceleration.x"] == [i / 256 for i in range(80)] * 2
    assert it.columns["acceleration.z"] == [-i / 256 for i in range(80)] * 2
    assert set(it.columns["acceleration.y"]) == {1.0}
    assert it.numbers == list(range(160))


def test_files_that_are_broken_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(geneactiv()[:-1000])
    it = read(activity, path)
    assert (
        f"after row {len(it.numbers) - 1}: {len(it.numbers)} samples in 2 pages of 300: a page was cut off" in it.error
    )
    path.write_bytes(geneactiv()[:-4000])
    assert "it has 1 pages, where its header says 2" in read(activity, path).error
    path.write_bytes(geneactiv()[:500])
    with Source(path) as source, pytest.raises(ConfigError, match="broken, or not of a kind that is read"):
        activity.open_file(source, {})
    path.write_bytes(cwa()[:-100])
    it = read(activity, path)
    assert (len(it.numbers), it.error) == (80, f"{path}: after row 79: half a sector at the end. Copy it again")
    broken = bytearray(cwa())
    broken[1600] ^= 1
    path.write_bytes(broken)
    with Source(path) as source, pytest.raises(ConfigError, match="failed checksum"):
        activity.open_file(source, {})
    path.write_bytes(geneactiv())
    monkeypatch.setattr(activity, "MAX_SIZE", 1000)
    with Source(path) as source, pytest.raises(ConfigError, match="where 1,000 are read"):
        activity.open_file(source, {})
