"""Folders and zip files as lists of files: order, what is passed over and said, members that are refused."""

import os
import struct
import zipfile
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.readers import containers, formats


def texts(path: Path) -> dict[str, str]:
    out = {}
    for file in containers.contents(path).files:
        with file.open() as source:
            assert (source.size, source.name) == (file.size, Path(file.name).name)
            with source.stream() as it:
                out[file.name] = it.read().decode()
    return out


FILES = {"b.csv": "b", "a/z.csv": "z", "a/b.csv": "ab", "a.csv": "a", "a/10/x": "", "A.csv": "A"}
ORDER = ["A.csv", "a/10/x", "a/b.csv", "a/z.csv", "a.csv", "b.csv"]


def test_a_folder_and_a_zip_file_give_the_same_files_in_one_order(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for name, text in FILES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    packed = tmp_path / "top.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        out.mkdir("empty")
        for name, text in reversed(FILES.items()):
            out.writestr(name, text)
    for path in (top, packed):
        assert containers.is_container(path)
        assert list(texts(path)) == ORDER
        assert texts(path) == FILES
        assert containers.contents(path).passed == ()
    packed.rename(top / "a" / "in.zip")  # a zip file in a folder
    assert texts(top) == FILES | {f"a/in.zip/{name}": text for name, text in FILES.items()}


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    names = [
        ".DS_Store", "a/.hidden/x.csv", "__MACOSX/._a.csv", "Thumbs.db", "good.csv", "~$book.xlsx", "x.csv.part",
        "old.tar.gz", "old.7z", "in.zip",
    ]  # fmt: skip
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w") as out:
        for name in names:
            out.writestr(name, name)
    assert texts(packed) == {"good.csv": "good.csv"}
    assert containers.contents(packed).passed == (
        "files that a program is writing: 2, such as x.csv.part",
        "hidden files: 4, such as .DS_Store",
        "packed files in a zip file: 1, such as in.zip",
        "packed files that are not gzip or zip: 2, such as old.7z",
    )
    top = tmp_path / "top"
    with zipfile.ZipFile(packed) as it:
        it.extractall(top, [name for name in names if name != "in.zip"])
    (top / "loop").symlink_to(top)
    (top / "gone.csv").symlink_to(top / "nothing")
    os.mkfifo(top / "pipe")
    assert list(texts(top)) == ["good.csv"]
    assert containers.contents(top).passed == (
        "files that a program is writing: 2, such as x.csv.part",
        "hidden files: 4, such as .DS_Store",
        "links to folders: 1, such as loop",
        "no files: 2, such as gone.csv",
        "packed files that are not gzip or zip: 2, such as old.7z",
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a.csv", "old")
        out.writestr("a.csv", "new")
    assert texts(path) == {"a.csv": "new"}
    assert containers.contents(path).passed == ("older copies of members: 1, such as x.zip",)


def test_names_that_lead_out_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "in" / "x.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as out:
        for name in ("../../evil.csv", "/abs.csv", "win\\dir\\a.csv", "bad\x1b[2J.csv"):
            out.writestr(name, "1")
    assert set(texts(path)) == {"abs.csv", "win/dir/a.csv", "bad?[2J.csv"}
    assert containers.contents(path).passed == ("hidden files: 1, such as ../../evil.csv",)
    assert [p.name for p in tmp_path.rglob("*.csv")] == []


def member(path: Path, name: str = "a.csv") -> str:
    """The words with which a member is refused."""
    (file,) = [it for it in containers.contents(path).files if it.name == name]
    with pytest.raises(ConfigError) as e, file.open():
        pass
    assert str(e.value).startswith(f"{path}/{name}: ")
    return str(e.value)


def test_members_that_cannot_be_unpacked_are_named_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.csv", "1,2,3\n" * 1000)
        out.writestr("b.csv", "good")
    whole = path.read_bytes()
    directory = whole.index(b"PK\1\2")
    broken = bytearray(whole)
    broken[50] ^= 0xFF
    path.write_bytes(broken)
    assert "can't be unpacked" in member(path)
    locked = bytearray(whole)
    locked[directory + 8] |= 1
    path.write_bytes(locked)
    assert "encrypted. Unpack the zip file with its password" in member(path)
    other = bytearray(whole)
    other[8:10] = other[directory + 10 : directory + 12] = struct.pack("<H", 9)  # Deflate64
    path.write_bytes(other)
    assert "packed in a way that is not read" in member(path)
    path.write_bytes(whole)
    monkeypatch.setattr(containers, "MAX_SIZE", 5999)
    assert "6,000 bytes unpacked, and" in member(path)
    with next(it for it in containers.contents(path).files if it.name == "b.csv").open() as source:
        assert source.head() == b"good"


def test_a_broken_member_of_another_packing_and_a_directory_that_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as out:
        out.writestr("a.csv", "1,2,3\n" * 1000)
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[39:44] = b"\xff" * 5
    path.write_bytes(broken)
    assert "can't be unpacked" in member(path)
    directory = whole.index(b"PK\1\2")
    for at, data in ((6, b"\xff"), (28, b"\0\0")):  # a version of the future; a name without a letter
        broken = bytearray(whole)
        broken[directory + at : directory + at + len(data)] = data
        path.write_bytes(broken)
        assert containers.is_container(path)
        with pytest.raises(ConfigError, match="no zip file that can be read"):
            containers.contents(path)


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.csv", bytes(5_000_000))
    monkeypatch.setattr(containers, "RATIO_FROM", 4_999_999)
    with pytest.raises(ConfigError, match="it unpacks to 5,000,000 bytes, more than 500 times its size"):
        containers.contents(path)
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("b.bin", os.urandom(100_000))
    assert "unpacks to 5,000,000 bytes, more than 500 times its size" in member(path)
    lying = bytearray(path.read_bytes())
    directory = lying.index(b"PK\1\2")
    lying[22:26] = lying[directory + 24 : directory + 28] = struct.pack("<I", 1000)
    path.write_bytes(lying)
    assert "can't be unpacked" in member(path)  # no more than 1,000 bytes come, and their checksum is wrong


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_FILES", 2)
    for i in range(3):
        (tmp_path / f"{i}").touch()
    with pytest.raises(ConfigError, match="more than 2 files"):
        containers.contents(tmp_path)


def test_what_is_no_container(tmp_path: Path) -> None:
    sheet = tmp_path / "x.xlsx"
    with zipfile.ZipFile(sheet, "w") as out:
        out.writestr("[Content_Types].xml", "")
    monitor = tmp_path / "x.gt3x"
    with zipfile.ZipFile(monitor, "w") as out:
        out.writestr("info.txt", "")
        out.writestr("log.bin", "")
    text = tmp_path / "x.zip"
    text.write_text("a,b\n")
    assert not any(map(containers.is_container, (sheet, monitor, text, tmp_path / "nothing")))
    text.write_bytes(b"PK\3\4broken")
    assert containers.is_container(text)
    with pytest.raises(ConfigError, match=r"no zip file that can be read: .* Copy it again"):
        containers.contents(text)


def test_a_member_is_read_as_a_file_is_and_its_copy_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("in/a.jsonl", '{"a": 1}\n{"a": 2}\n')
        out.writestr("in/b.jsonl", "?")
    good, bad = containers.contents(path).files
    with good.open() as source:
        reader = formats.open_file(source, {})
        (batch,) = reader.batches()
        assert (batch.rows.to_pydict(), batch.done) == ({"0": [1, 2]}, good.size)
        assert len(list(temporary.iterdir())) == 1
    with bad.open() as source, pytest.raises(ConfigError, match=r"x\.zip/in/b.jsonl: no row can be read"):
        formats.open_file(source, {}, "jsonlines")
    assert list(temporary.iterdir()) == []
