"""Which files of a watched folder are complete, and were not dealt with."""

import os
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.uploads.watching import Fate, Memory, Quiet, Seen, mark_of


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "state" / "watch.sqlite")


def names(found: list[Seen]) -> list[str]:
    return [it.path.name for it in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_a_file_is_ready_when_it_has_not_changed_for_a_while(folder: Path, memory: Memory) -> None:
    it = Quiet(folder, memory, 10)
    (folder / "a.csv").write_text("1")
    assert names(list(it.look(100.0))) == []
    (folder / "a.csv").write_text("12")  # still being written
    assert names(list(it.look(111.0))) == []
    assert names(list(it.look(120.0))) == []
    assert names(list(it.look(121.0))) == ["a.csv"]


def test_what_was_dealt_with_comes_again_only_when_it_changes(folder: Path, memory: Memory) -> None:
    it, path = Quiet(folder, memory, 0), folder / "a.csv"
    path.write_text("1")
    (seen,) = it.look(1.0)
    memory.note(seen, Fate.REFUSED, "why")
    assert list(it.look(2.0)) == []
    before = path.stat()
    path.write_text("2")  # as long as before, and its time is set back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names(list(it.look(3.0))) == ["a.csv"]


def test_what_was_dealt_with_is_known_after_a_restart(folder: Path, memory: Memory, tmp_path: Path) -> None:
    (folder / "a.csv").write_text("1")
    (seen,) = Quiet(folder, memory, 0).look(1.0)
    memory.note(seen, Fate.LOADED)
    with Memory(tmp_path / "state" / "watch.sqlite") as again:
        assert list(Quiet(folder, again, 0).look(1.0)) == []
        again.forget(seen)
        assert names(list(Quiet(folder, again, 0).look(1.0))) == ["a.csv"]


def test_another_file_with_the_inode_of_one_that_is_gone_is_another_file(folder: Path, memory: Memory) -> None:
    it, path = Quiet(folder, memory, 0), folder / "a.csv"
    path.write_text("1")
    (seen,) = it.look(1.0)
    memory.note(seen, Fate.LOADED)
    path.rename(folder / "b.csv")  # the same inode
    assert names(list(it.look(2.0))) == ["b.csv"]


def test_hidden_unfinished_and_empty_files_are_left_alone_and_folders_are_looked_into(
    folder: Path, memory: Memory
) -> None:
    for name in (".hidden.csv", "a.csv.part", "b.tmp", "empty.csv", "sub/c.csv", "d.zip"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if name == "empty.csv" else "x")
    assert names(list(Quiet(folder, memory, 0).look(1.0))) == ["d.zip", "c.csv"]


def test_a_file_that_is_gone_has_no_mark(folder: Path) -> None:
    assert mark_of(folder / "nothing") is None


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, memory: Memory) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        list(Quiet(tmp_path / "nothing", memory, 0).look(1.0))
