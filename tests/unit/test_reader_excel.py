"""Workbooks as tables: written by openpyxl, one by xlwt 1.3.0, and one by the specification of ODS."""

import base64
import gzip
import zipfile
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.readers import excel, formats
from headrace.readers.source import Source
from tests.unit.reading import read

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
pytest.importorskip("python_calamine", reason="python-calamine is not installed")

# time, x, ok: three rows from 2026-01-02 03:04:05 on, a second apart; x = i / 2; ok in the second.
XLS = (
    "ABzY8000000t4+>OK4L;6g~4^{<djSQ*A4hP_Sxk7ve?&ZCXLQveXYKB50cgT4EAOyD%=aTC)^{t`s+gx^Po<;|E>nPN`7Qg&+utf*V(Y"
    "f{QlKJNLa8(^#PaEkx#oxpUv0IdgC3bKmFnQm`<0zrBbm^g~C<@WNGL6I8tRMF7-"
    "p7*e%s4;4e9uHg01Lb{xI()h|P*HEr^5gP6}o|6PVQaOcl7|x^<;SI!oj$u^D82U&G+#-"
    "t~Z5&lI%NWbeEbns9rz{89a*bsl^(}~#Sc(pJ@3VIC39Xac{E*{5WX^lG>_H1&$X$Htx-"
    "k1XF_@hgJzHlD9gYUfgBElskxpdgbt`VuOd&_;O{IF{@$mR~B$bLxP8JZNRiDRqBMf}AkN2~%vTv+ifb2h3+ueV#duTPQ?X#K#n1*qNPf"
    "H$~;C9Fs9fPshGFnLi7qU)Gq!P4a&eNXHBz-cia~cS&N&}62JQ_&G(ZqU?4@rRBFW>q4=Fr$k^fX(hIrW=2i0v{A7`QAMMD}wFN5bB_nX"
    "#MY6&`gP>+LK<w1cVc8fmeVgEQRcDz|o#pS_H?(H#}~PSW#V4nOM1e~RuRePO70A++!=I)_fWVa16re>3P2J>upKiN{g97FII(z_RVP#N"
    "yEcR_um#7i_``e5?jpnpbjmMEOdy=1Q_f6<en{5oQv58QJQ{eIB@|`8Yz8<J3H)YdpH-Yisb$B)I55TIQSUvuN=(<_qTQYw&gE&mK#b`8"
    "xAm7GJmg_iN2~Ae~WC{RJNs6ciK`6ciK`>J)+>R?9C2^we!W{JX91IxAF4>NClIizCR;Z;IX}4<Jo-"
    "7P*@C&lWg^J(gG}$NpX@ah$wok;E9sk*s<D(o2-6{6Fg^2L9d=s?~p~mN@^h|DTOUvn&7>000"
)
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC).replace(tzinfo=None)
ODS = """<?xml version="1.0"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">
<office:body><office:spreadsheet><table:table table:name="S">
<table:table-row>{head}</table:table-row>
<table:table-row>{date}{number}</table:table-row>
</table:table></office:spreadsheet></office:body></office:document-content>"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.xlsx"


def write(path: Path, **sheets: list[list[Any]]) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)


def test_types_of_columns(file: Path) -> None:
    rows = [
        [AT, 1, 2.5, True, " a ", timedelta(hours=30), time(1, 2, 3), AT, 7, None],
        [date(2026, 1, 2), 2, -1e300, False, None, timedelta(0), time(0), "soon", "seven", None],
    ]
    names = ["time", "n", "x [g]", "ok", "note", "took", "clock", "when", "mixed", "empty"]
    write(file, Acc=[names, *rows])
    it = read(excel, file)
    day = AT.replace(hour=0, minute=0, second=0, microsecond=0)
    assert it.columns == {
        "time": [AT, day], "n": [1.0, 2.0], "x [g]": [2.5, -1e300], "ok": [True, False], "note": ["a", None],
        "took": [timedelta(hours=30), timedelta(0)], "clock": [time(1, 2, 3), time(0)],
        "when": ["2026-01-02 03:04:05.678000", "soon"], "mixed": ["7", "seven"], "empty": [None, None],
    }  # fmt: skip
    assert [it.types[name] for name in ("time", "took", "clock", "empty")] == [
        "timestamp[us]", "duration[us]", "time64[us]", "string",
    ]  # fmt: skip
    assert (it.table.name, it.table.columns[2].unit) == ("Acc", "g")


def test_where_rows_begin_and_what_is_left_out(file: Path) -> None:
    head = ["time", "x", "y"]
    write(file, A=[["Logger 7"], [], head, ["s", "g", "g"], [0.5, 1, 2], [], [1.5, 3, 4], head, [2.5, 5, 6, "late"]])
    it = read(excel, file)
    assert it.columns == {
        "time": [0.5, 1.5, 2.5], "x": [1, 3, 5], "y": [2, 4, 6], "3": [None, None, "late"],
    }  # fmt: skip
    assert [c.unit for c in it.table.columns] == ["s", "g", "g", ""]
    assert it.table.notes == ("2 lines before the header: Logger 7", "line 4 has units")
    assert [(o.number, o.place, o.reason, o.text) for o in it.left_out] == [
        (1, "row 6 of the sheet", "a blank row", ""), (3, "row 8 of the sheet", "the header again", "time x y"),
    ]  # fmt: skip
    again = read(excel, file, header="none")
    assert again.table.columns[0].name == "column 1"
    assert read(excel, file, header="3", units="none").columns["time"][0] == "s"


def test_sheets_are_tables(file: Path) -> None:
    write(file, A=[["a", "b"], [1, 2]], Empty=[], B=[["c", "d"], [3, 4]])
    book = openpyxl.load_workbook(file)
    book["B"].sheet_state = "hidden"
    book.save(file)
    one, two = read(excel, file), read(excel, file, 1)
    assert (one.table.name, one.columns) == ("A", {"a": [1], "b": [2]})
    assert (two.table.name, two.columns) == ("B", {"c": [3], "d": [4]})
    assert two.table.notes == ("the sheet is hidden", "without rows, and passed over: Empty")
    assert read(excel, file, sheet="B").columns == two.columns
    with Source(file) as source:
        for name, words in (("C", "it has no sheet 'C'"), ("Empty", "sheet Empty: an empty file")):
            with pytest.raises(ConfigError, match=words):
                excel.open_file(source, {"sheet": name})


def test_many_rows(file: Path) -> None:
    write(file, A=[["n", "x"], *([i, i * 0.5] for i in range(12_345))])
    it = read(excel, file)
    assert it.columns == {"n": list(range(12_345)), "x": [i * 0.5 for i in range(12_345)]}
    assert it.numbers == list(range(12_345))


def test_older_files_of_excel(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(gzip.decompress(base64.b85decode(XLS)))
    with Source(path) as source:
        assert formats.recognise(source) == "excel"
    at = AT.replace(microsecond=0)
    assert read(excel, path).columns == {
        "time": [at + timedelta(seconds=i) for i in range(3)], "x": [0, 0.5, 1], "ok": [False, True, False],
    }  # fmt: skip


def test_ods(tmp_path: Path) -> None:
    path = tmp_path / "x.ods"
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    date = '<table:table-cell office:value-type="date" office:date-value="2026-01-02T03:04:05"/>'
    number = '<table:table-cell office:value-type="float" office:value="1.25"/>'
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        out.writestr("content.xml", ODS.format(head=cell.format("time") + cell.format("x"), date=date, number=number))
        space = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
        out.writestr("META-INF/manifest.xml", f'<manifest:manifest xmlns:manifest="{space}"/>')
    with Source(path) as source:
        assert formats.recognise(source) == "excel"
    assert read(excel, path).columns == {"time": [AT.replace(microsecond=0)], "x": [1.25]}


def test_files_that_are_broken_or_too_large(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, A=[["a", "b"], [1, 2]])
    whole = file.read_bytes()
    for data, words in (
        (whole[: len(whole) // 2], "no workbook that can be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "no workbook that can be read"),
        (gzip.decompress(base64.b85decode(XLS))[:1600], "no workbook that can be read"),
    ):
        file.write_bytes(data)
        with Source(file) as source, pytest.raises(ConfigError) as e:
            excel.open_file(source, {})
        assert str(e.value).startswith(f"{file}: ")
        assert words in str(e.value)
    file.write_bytes(whole)
    for name in ("MAX_PACKED", "MAX_UNPACKED"):
        with monkeypatch.context() as m, Source(file) as source:
            m.setattr(excel, name, 1000)
            with pytest.raises(ConfigError, match=r"where 1,000 are read\. A workbook is read whole"):
                excel.open_file(source, {})


def test_without_the_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"PK\3\4")
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    with Source(file) as source, pytest.raises(ConfigError, match=r"pip install 'headrace\[files\]'"):
        excel.open_file(source, {})
