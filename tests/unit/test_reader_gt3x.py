"""ActiGraph's gt3x files as tables: bytes by the maker's specification."""

import functools
import operator
import struct
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.readers import formats, gt3x
from headrace.readers.source import Source
from tests.unit.reading import read

T0 = 1_795_860_000
AT = datetime.fromtimestamp(T0, UTC).replace(tzinfo=None)
INFO = "Serial Number: TAS1H01\r\nDevice Type: wGT3XBT\r\nSample Rate: 30\r\nAcceleration Scale: 256.0\r\n"
SAMPLES = [(i - 15, 256, -i * 60) for i in range(30)]  # x, y, z


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.gt3x"


def record(kind: int, second: int, payload: bytes) -> bytes:
    told = struct.pack("<BBIH", 0x1E, kind, T0 + second, len(payload)) + payload
    return told + bytes([functools.reduce(operator.xor, told) ^ 0xFF])


def packed(samples: list[tuple[int, int, int]]) -> bytes:
    bits = "".join(format(v & 0xFFF, "012b") for x, y, z in samples for v in (y, x, z))
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def plain(samples: list[tuple[int, int, int]]) -> bytes:
    return b"".join(struct.pack("<3h", *it) for it in samples)


def write(path: Path, log: bytes, info: str = INFO) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("info.txt", info)
        out.writestr("log.bin", log)


@pytest.mark.parametrize(("kind", "form"), [(0x00, packed), (0x1A, plain)])
@pytest.mark.parametrize("count", [30, 29])  # an odd number of samples ends within a byte
def test_samples(file: Path, kind: int, form: object, count: int) -> None:
    assert callable(form)
    log = b"".join(record(kind, s, form(SAMPLES[:count])) for s in (0, 1, 7))  # asleep from second 2 to 6
    write(file, log + record(kind, 8, b"\0") + record(0x06, 8, b"{}"))
    with Source(file) as source:
        assert formats.recognise(source) == "gt3x"
    it = read(gt3x, file)
    assert it.table.name == "acceleration"
    assert [c.unit for c in it.table.columns] == ["", "g", "g", "g"]
    assert it.columns["x"] == [x / 256 for x, _, _ in SAMPLES[:count]] * 3
    assert it.columns["y"] == [1.0] * 3 * count
    assert it.columns["z"] == [z / 256 for _, _, z in SAMPLES[:count]] * 3
    assert it.columns["time"] == [
        AT + timedelta(seconds=s, microseconds=round(i * 1e6 / 30)) for s in (0, 1, 7) for i in range(count)
    ]
    assert it.table.notes == ("wGT3XBT TAS1H01", "times are those of the device, without a zone")


def test_the_other_tables(file: Path) -> None:
    write(file, record(0x02, 0, b"\xa0\x0f") + record(0, 0, packed(SAMPLES)) + record(0x05, 1, b"\x05\x00"))
    light, battery = read(gt3x, file, 1), read(gt3x, file, 2)
    assert (light.table.name, light.columns) == ("light", {"time": [AT + timedelta(seconds=1)], "light": [5]})
    assert (battery.table.name, battery.columns) == ("battery", {"time": [AT], "voltage": [4000]})


def test_a_record_with_a_wrong_checksum_is_left_out_and_numbered(file: Path) -> None:
    good, bad = record(0x1A, 0, plain(SAMPLES[:2])), bytearray(record(0x1A, 1, plain(SAMPLES[:2])))
    bad[10] ^= 1
    write(file, good + bad + record(0x1A, 2, plain(SAMPLES[:2])))
    it = read(gt3x, file)
    assert it.numbers == [0, 1, 3, 4]
    assert [(o.number, o.place, o.reason) for o in it.left_out] == [(2, "byte 21 of log.bin", "a wrong checksum")]


def test_many_records(file: Path) -> None:
    write(file, b"".join(record(0x1A, s, plain([(s, i, 0) for i in range(30)])) for s in range(1000)))
    it = read(gt3x, file)
    assert it.columns["x"] == [s / 256 for s in range(1000) for _ in range(30)]
    assert it.numbers == list(range(30_000))


@pytest.mark.parametrize(
    ("end", "words"),
    [(b"\x1f" * 9, "byte 21 of log.bin: no record begins there"), (b"\x1e\x1a", "byte 21 of log.bin: no record"),
     (record(0x1A, 1, plain(SAMPLES))[:-1], "byte 21 of log.bin: it ends within a record")],
)  # fmt: skip
def test_a_broken_log_gives_the_rows_before(file: Path, end: bytes, words: str) -> None:
    write(file, record(0x1A, 0, plain(SAMPLES[:2])) + end)
    it = read(gt3x, file)
    assert it.numbers == [0, 1]
    assert words in it.error
    assert "Copy it again" in it.error


def test_the_scale_by_the_serial_number(file: Path) -> None:
    info = "Serial Number: NEO1D01\r\nSample Rate: 30\r\n"
    write(file, record(0, 0, packed([(341, 0, 0)])), info)
    assert read(gt3x, file).columns["x"] == [1.0]


def test_files_that_are_not_read(file: Path) -> None:
    log = record(0, 0, packed(SAMPLES))
    for info, words in ((INFO.replace("30", "x"), "no rate and scale"), ("", "no rate and scale"),
                        (INFO.replace("256.0", "-1"), "no rate and scale")):  # fmt: skip
        write(file, log, info)
        with Source(file) as source, pytest.raises(ConfigError, match=words):
            gt3x.open_file(source, {})
    write(file, record(0x06, 0, b"{}"))
    with Source(file) as source, pytest.raises(ConfigError, match="it has no samples"):
        gt3x.open_file(source, {})
    for members, words in (
        (("info.txt",), "log.bin"),
        (("info.txt", "activity.bin"), "Export it as CSV with ActiLife"),
    ):
        with zipfile.ZipFile(file, "w") as out:
            for name in members:
                out.writestr(name, INFO)
        with Source(file) as source, pytest.raises(ConfigError, match=words):
            gt3x.open_file(source, {})
    write(file, log)
    data = file.read_bytes()
    file.write_bytes(data.replace(b"log.bin", b"log.bim", 1))  # its name in the directory is another
    with Source(file) as source, pytest.raises(ConfigError, match=r"header b'log\.bim' differ"):
        gt3x.open_file(source, {})
    file.write_bytes(b"PK\3\4")
    with Source(file) as source, pytest.raises(ConfigError, match=r"broken: .* Copy it again"):
        gt3x.open_file(source, {})
