"""EDF and BDF files as tables: those that pyEDFlib 0.1.42 wrote, and bytes by the formats' specifications."""

import base64
import gzip
import struct
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.readers import edf, formats
from headrace.readers.source import Source
from tests.unit.reading import read

# Three seconds of ECG (sin t * 4), acc x (cos t), both 4 Hz, and temp (36 + i / 100), 2 Hz; with an annotation.
EDFPLUS = (
    "ABzY8000000s}KpfPe@nq!tJ+Nh~T!Ni0cKFtX6~^AFQCGB7fuzz!n|Jwro1BQrw-Jp&*zH8ip?0ExT0xM@2RX@)VBHiXh9ApOqn"
    "C~6XulNBnE_$8^i1<3M1`xG4W^72a(OEUBGiWNoyWgs^ULZ?IdDXHlw(Wz?+rH!EJzyQjJMxrS!eZb<>6g7@@jg8FBEI|4VOn{Vv"
    "0h&07G6$P$Vh&CtP(F+v1(X33G#VC9rh_DK85lw&#SKrp{%5|=+{pZf=~dwOKy3pN5e98Tk=(?hY!L=}0L?I+MCG)DDH=>pjP49x"
    "|5<~Cf`AU7kL7S69lP4!-Bv_B>|gEQGk^U4$Oq{JX&ceo6#yO+%0H3@000"
)
BDF = (
    "ABzY8000000t5T+<mn&m>gySy0D;s3!6k`BB`Jv|sR~9Gx_<s)x<&>@W)#?AWT9thsAptmXrN~RM5cxYMkb`1VGN}Wk@&98?kH*!"
    "lam!HkoYC3xdjR%803aQ=yWJQB{kg{MC+PD__{{W_%VRcrm*;e(k3u<#zy9579jNoCO}HT02T*8VRNv46LVz#NCPHlv=N=`Wnf?k"
    "kz^1zWH{~0@SmCCJ~KljGs7DuhF5_M-"
    "vb#m!x(fD8I;o)4yG_@FflkWGPpA^c>Vv+8pI$J#2_8Zu-c!&-IhT_ogwVs|JuL*&;0rC_vgQS5Q9z-0{|xvN=RA+000"
)
# As pyEDFlib itself reads them.
ECG = [7.62951095e-05, 9.89471275e-01, 1.91767758, 2.72640574, 3.36575875, 3.79591058, 3.98985275, 3.93583581,
       3.63706416, 3.11215381, 2.39375906, 1.52658885]  # fmt: skip
ACC = [0.9997558, 0.96849817, 0.87667888, 0.73113553, 0.53968254, 0.31501832, 0.06984127, -0.17728938, -0.41562882,
       -0.62759463, -0.8004884, -0.92356532]  # fmt: skip
TEMP = [35.99932859, 36.00924711, 36.01992859, 36.0298471, 36.03976562, 36.04968413]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.edf"


def made(
    signals: list[tuple[str, str, int]], data: bytes, *, records: int = 2, seconds: str = "1", kind: str = "",
    width: int = 2, limits: tuple[str, str, str, str] = ("-1", "1", "-100", "100"), date: bytes = b"28.11.2610.00.05",
) -> bytes:  # fmt: skip
    """A file by hand: label, unit and samples in a record of each signal."""
    out = (b"0       " if width == 2 else b"\xffBIOSEMI") + b" " * 160 + date
    out += f"{256 + 256 * len(signals):<8}{kind:<44}{records:<8}{seconds:<8}{len(signals):<4}".encode()
    out += b"".join(f"{label:<16}".encode("latin-1") for label, _, _ in signals) + b" " * 80 * len(signals)
    out += b"".join(f"{unit:<8}".encode("latin-1") for _, unit, _ in signals)
    out += b"".join(f"{limit:<8}".encode() * len(signals) for limit in limits) + b" " * 80 * len(signals)
    return out + b"".join(f"{n:<8}".encode() for _, _, n in signals) + b" " * 32 * len(signals) + data


@pytest.mark.parametrize(("written", "notes"), [(EDFPLUS, ("annotations are passed over",)), (BDF, ())])
def test_what_another_program_wrote(file: Path, written: str, notes: tuple[str, ...]) -> None:
    file.write_bytes(gzip.decompress(base64.b85decode(written)))
    it, slow = read(edf, file), read(edf, file, 1)
    assert it.columns["ECG"] == pytest.approx(ECG, abs=5e-9)
    assert it.columns["acc x"] == pytest.approx(ACC, abs=5e-9)
    assert slow.columns == {"temp": pytest.approx(TEMP, abs=5e-9)}
    assert [c.unit for c in (*it.table.columns, *slow.table.columns)] == ["mV", "g", "degC"]
    assert [(t.name, str(t.start), t.rate, t.rows, t.notes) for t in (it.table, slow.table)] == [
        ("4 Hz", "2026-11-28 10:00:05", 4.0, 12, notes), ("2 Hz", "2026-11-28 10:00:05", 2.0, 6, notes),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [2, 3])
def test_digital_values_stand_as_they_are(file: Path, width: int) -> None:
    values = [-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1, 0, -1]
    file.write_bytes(
        made([("x", "µV", 2)], b"".join(v.to_bytes(width, "little", signed=True) for v in values), width=width)
    )
    it = read(edf, file, values="digital")
    assert (it.columns, it.table.columns[0].unit) == ({"x": values}, "")
    it = read(edf, file)
    assert it.columns["x"] == pytest.approx([v / 100 for v in values])
    assert (it.table.name, it.table.columns[0].unit) == ("", "µV")


def test_a_recording_with_gaps_has_the_times_of_its_records(file: Path) -> None:
    signals = [("x", "g", 2), ("EDF Annotations", "", 8)]
    notes = [b"+0.25\x14\x14\0", b"+7.5\x14\x14\0+7.6\x14hi\x14\0"]
    data = b"".join(struct.pack("<2h", 2 * i, 2 * i + 1) + note.ljust(16, b"\0") for i, note in enumerate(notes))
    file.write_bytes(made(signals, data, kind="EDF+D"))
    it = read(edf, file, values="digital")
    assert it.columns == {"time": [0.25, 0.75, 7.5, 8.0], "x": [0, 1, 2, 3]}
    assert (it.table.rate, str(it.table.start)) == (None, "2026-11-28 10:00:05")
    assert "with gaps (EDF+D)" in it.table.notes[1]
    file.write_bytes(made(signals, data, kind="EDF+C"))
    it = read(edf, file)
    assert (it.table.rate, it.table.start) == (2.0, it.table.start and it.table.start.replace(microsecond=250_000))
    assert list(it.columns) == ["x"]


def test_records_longer_than_a_batch(file: Path) -> None:
    file.write_bytes(
        made([("x", "", 25_000)], struct.pack("<50000h", *[i % 30_000 for i in range(50_000)]), seconds="0.5")
    )
    it = read(edf, file, values="digital")
    assert it.columns["x"] == [i % 30_000 for i in it.numbers]
    assert (len(it.numbers), it.table.rate) == (50_000, 50_000.0)


def test_a_file_that_ends_early(file: Path) -> None:
    data = struct.pack("<6000h", *range(6000))
    file.write_bytes(made([("x", "", 10)], data[:-5], records=600))
    it = read(edf, file, values="digital")
    assert it.columns["x"] == it.numbers == list(range(5990))
    assert [(o.number, o.place, o.reason) for o in it.left_out] == [(5990, "record 599", "half a record at the end")]
    assert "it ends after row 5989, 1 records before its header says" in it.error
    assert read(edf, file, length="file").error == ""
    file.write_bytes(made([("x", "", 10)], data, records=-1))
    it = read(edf, file)
    assert (len(it.numbers), it.error, it.table.rows) == (6000, "", None)
    assert "the header tells no length" in it.table.notes[0]
    packed = file.with_name("x.edf.gz")
    packed.write_bytes(gzip.compress(made([("x", "", 10)], data, records=-1))[:-500])
    it = read(edf, packed, values="digital")
    assert it.columns["x"] == it.numbers
    assert len(it.numbers) > 1000
    assert "a broken gzip file" in it.error


@pytest.mark.parametrize(
    ("date", "start"),
    [
        (b"01.02.8500.00.00", "1985-02-01 00:00:00"),
        (b"01.02.8423.59.59", "2084-02-01 23:59:59"),
        (b"99.99.9900.00.00", "None"),
    ],
)
def test_starts(file: Path, date: bytes, start: str) -> None:
    file.write_bytes(made([("x", "", 1)], bytes(4), date=date))
    assert str(read(edf, file).table.start) == start


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (made([("x", "", 1)], b"", limits=("0", "0", "0", "1")), "x tell no scale. Read it with `values: digital`"),
        (made([("x", "", 1)], b"", limits=("a", "0", "0", "1")), "limits of x: 'a' is no number"),
        (made([("x", "", 1)], b"", seconds="?"), "duration of a record: '?' is no number"),
        (made([("x", "", 0)], b""), "records of 0 bytes"),
        (made([("x", "", 99_999_999)], b""), "records of 199,999,998 bytes"),
        (made([("EDF Annotations", "", 9)], bytes(18)), "it has no signals with samples"),
        (made([], b""), "0 signals, where"), (made([("x", "", 1)], b"")[:400], "'' is no number"),
    ],
)  # fmt: skip
def test_what_is_not_read(file: Path, data: bytes, words: str) -> None:
    file.write_bytes(data)
    with Source(file) as source:
        assert formats.recognise(source) == "edf"
        with pytest.raises(ConfigError) as e:
            formats.open_file(source, {})
    assert str(e.value).startswith(f"{file}: ")
    assert words in str(e.value)


def test_text_that_begins_with_a_zero_is_none() -> None:
    assert not edf.suits(b"0       1        2\n" * 100, "x.txt")
