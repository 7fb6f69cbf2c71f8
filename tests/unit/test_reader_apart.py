"""Readers in a child process: the same as in this one, and errors in words where the child ends."""

import gzip
import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.errors import ConfigError
from headrace.readers import containers, formats
from headrace.readers.apart import Apart, Limits
from headrace.readers.base import Batch, Reader
from headrace.readers.source import Source
from tests.unit.reading import until_error
from tests.unit.test_reader_wave import chunk, fmt, wav

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space, and has no /proc")


@pytest.fixture(scope="module")
def shared() -> Iterator[Apart]:
    with Apart() as it:
        yield it


def pid(apart: Apart) -> int:
    (one,) = apart._all
    return one._process.pid


def samples(folder: Path) -> Iterator[Path]:
    def file(name: str, data: bytes) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    yield file("a.csv", b"t,ax,who\n" + b"".join(b"%d,%d.5, x\n" % (i, i) for i in range(12_000)) + b"7\n\n8,1,2\n")
    yield file("a.jsonl", b'{"a": 1, "l": [1.5]}\n?\n\n{"a": 2, "b": {"c": "\xc3\xa4"}}\n{"a"')
    yield file("broken.json", b'[{"a": 1}, {"a": 2}, {')
    yield file("only.json", b"[{")
    yield file("a.senml", b'[{"bn": "x", "bt": 1700000000, "v": 1}, {"t": 1}]')
    bext = bytes(320) + b"2026-11-2810:00:05" + bytes(300)
    yield file("a.wav", wav(fmt(1, 2, 16), bytes(202), before=chunk(b"bext", bext)))
    yield file("short.wav", wav(fmt(1, 2, 16), bytes(80_000))[:-1000])
    yield file("a.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 50_000))
    yield file(
        "cut.jsonl.gz", gzip.compress(b"".join(b'{"a": %d}\n' % (i * 7919 % 10007) for i in range(50_000)))[:-999]
    )
    sink = io.BytesIO()
    table = pa.table({"t": pa.array([1, None], pa.timestamp("ns", "UTC")), "s": ["a", None], "acc": [{"x": 1}, None]})
    with pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    yield file("a.arrow", sink.getvalue())
    yield file("empty.arrow", _empty())
    yield file("noise.bin", bytes(range(256)) * 10)


def _empty() -> bytes:
    sink = io.BytesIO()
    pa.ipc.new_file(sink, pa.schema([("a", pa.int8())])).close()
    return sink.getvalue()


def refusal(step: Callable[[], object]) -> str:
    try:
        step()
    except ConfigError as e:
        return str(e)
    return ""


def same(one: tuple[list[Batch], str], two: tuple[list[Batch], str]) -> None:
    assert one[1] == two[1]
    assert len(one[0]) == len(two[0])
    for a, b in zip(one[0], two[0], strict=True):
        assert (a.numbers, a.rows, a.left_out, a.done) == (b.numbers, b.rows, b.left_out, b.done)


def test_a_child_gives_what_a_reader_here_gives(tmp_path: Path, shared: Apart) -> None:
    for path in samples(tmp_path):
        with Source(path) as source:
            words = refusal(lambda: formats.open_file(source, {}))
            if words:
                assert refusal(lambda: shared.open_file(source, {})) == words
                continue
            here: Reader = formats.open_file(source, {})
            child = shared.open_file(source, {})
            assert (child.tables, child.dialect) == (here.tables, here.dialect)
            for _ in range(2):  # a second time by a second request
                same(until_error(child.batches()), until_error(here.batches()))
            child.close()
            again = shared.open_file(source, here.dialect, formats.recognise(source))
            same(until_error(again.batches()), until_error(here.batches()))
            here.close()
    assert len(shared._all) == 1  # one child for all of them


def test_a_member_of_a_zip_file_has_its_own_name_in_errors(tmp_path: Path, shared: Apart) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("in/a.jsonl", "?")
    (file,) = containers.contents(path).files
    with file.open() as source, pytest.raises(ConfigError) as e:
        shared.open_file(source, {})
    assert str(e.value) == f"{path}/in/a.jsonl: no row can be read: line 1: the last line, half-written"


def test_a_file_that_is_not_read_to_its_end_ends_its_child(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 2_000_000)
    with Apart() as apart, Source(path) as source:
        reader = apart.open_file(source, {})
        first = pid(apart)
        batches = reader.batches()
        assert next(batches).numbers[0].as_py() == 0
        batches.close()  # type: ignore[attr-defined]
        assert apart._all == []
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        reader = apart.open_file(source, {})
        reader.close()
        assert apart._all == []
        assert sum(len(b.numbers) for b in apart.open_file(source, {}).batches()) == 2_000_000


@LINUX
def test_a_file_that_needs_too_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": [' + b"[]," * 5_000_000 + b"[]]}\n")
    with Apart(Limits(memory=450 * 1024**2)) as apart, Source(path) as source:
        with pytest.raises(ConfigError) as e:
            apart.open_file(source, {})
        assert str(e.value) == (
            f"{path}: more than 450 MiB of memory would be needed. Split the file, have it written as CSV or Parquet, "
            "or allow more"
        )
        assert sum(len(b.numbers) for b in apart.open_file(_small(tmp_path), {}).batches()) == 1  # the next file


@LINUX
def test_a_small_file_that_unpacks_to_much(tmp_path: Path) -> None:
    path = tmp_path / "bomb.arrow"
    batch = pa.record_batch({"a": pa.array([0] * 10, pa.int64())})
    zeros = pa.Array.from_buffers(pa.int64(), 60_000_000, [None, pa.py_buffer(bytes(480_000_000))])
    with pa.ipc.new_file(path, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
        out.write_batch(batch)
        out.write_batch(pa.record_batch({"a": zeros}))
    assert path.stat().st_size < 1_000_000
    with Apart(Limits(memory=600 * 1024**2)) as apart, Source(path) as source:
        found, error = until_error(apart.open_file(source, {}).batches())
    assert [len(b.numbers) for b in found] == [10]
    assert error == (
        f"{path}: batch 1, after row 9: malloc of size 480000000 failed, more memory than there is. If the file is "
        "good, have it written in smaller parts; else copy it again from where it was made"
    )


def _small(folder: Path) -> Source:
    path = folder / "small.jsonl"
    path.write_text('{"a": 1}\n')
    return Source(path)


def test_a_file_that_needs_too_much_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1, "b": {"c": [1, 2, 3]}}\n' * 1_500_000)
    with Apart(Limits(cpu=1)) as apart, Source(path) as source, pytest.raises(ConfigError) as e:
        apart.open_file(source, {})
    assert str(e.value) == f"{path}: more than 1 s of CPU time would be needed. Split the file, or allow more"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSTOP, "no row came for 1 s. Have a look at the file"),
        (signal.SIGKILL, "more than 1,024 MiB of memory would be needed"),
        (signal.SIGSEGV, "its reader broke off (exit code -11). Please report it, with the file"),
    ],
)
def test_a_child_that_hangs_or_crashes(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 2_000_000)
    with Apart() as apart, Source(path) as source:
        batches = apart.open_file(source, {}).batches()
        next(batches)
        apart._all[0].limits = Limits(patience=1)
        os.kill(pid(apart), number)
        found, error = until_error(batches)
        last = found[-1].numbers[-1].as_py() if found else 9999
        assert error.startswith(f"{path}: after row {last}: {words}")


def test_a_bug_of_a_reader_is_told(tmp_path: Path) -> None:
    with Apart() as apart, _small(tmp_path) as source, pytest.raises(ConfigError, match="exit code 1: IndexError"):
        list(apart.open_file(source, {}).batches(7))


@LINUX
def test_a_child_sees_no_credentials_and_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Apart(Limits(memory=700 * 1024**2)) as apart, _small(tmp_path) as source:
        list(apart.open_file(source, {}).batches())
        folder = Path(f"/proc/{pid(apart)}")
        assert b"secret" not in (folder / "environ").read_bytes()
        told = (folder / "limits").read_text()
        assert f"Max address space         {700 * 1024**2}" in told
        assert "Max core file size        0" in told


def test_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, 7]')
    argv = [sys.executable, "-m", "headrace.readers.child", str(path), "--format", "jsonlines"]
    done = subprocess.run([*argv, "--options", '{"shape": "list"}'], capture_output=True, check=True)
    with pa.ipc.open_stream(done.stdout) as it:
        assert orjson.loads(it.schema.metadata[b"told"])["dialect"] == {"shape": "list"}
        batch, told = it.read_next_batch_with_custom_metadata()
        assert batch.to_pydict() == {"0": [1], "numbers": [0]}
        assert orjson.loads(told[b"left_out"]) == [[1, "element 2", "no object", "7"]]
        assert told[b"done"] == b"13"
        batch, told = it.read_next_batch_with_custom_metadata()
        assert (len(batch), dict(told)) == (0, {b"end": b""})
