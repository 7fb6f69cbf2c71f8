"""Readers in a child process with limits: a file that is broken or evil ends the child, and here is an error in words.

A child reads one file after the other, since its start takes longer than a small file. It sees no variable of the
environment but those named here, so no credentials.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, TypeVar, cast

import orjson
import pyarrow as pa

from headrace.errors import ConfigError
from headrace.readers import child
from headrace.readers.base import SHOWN, Batch, Reader
from headrace.readers.source import Source

_PASSED_ON = ("PATH", "TMPDIR", "TZ", "TZDIR", "LANG", "LC_ALL")
_LEAN = {  # of address space, which threads and Arrow's own pools take without need
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
T = TypeVar("T")


class Limits(NamedTuple):
    """What a child may use."""

    memory: int = 1024**3  # bytes of address space. Not on macOS, which does not enforce it
    cpu: int = 3600  # seconds of CPU time for a file
    patience: float = 300  # seconds without a row


class Apart:
    """Opens files in children: `with Apart() as it`. Not for several threads."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._idle: list[_Child] = []
        self._all: list[_Child] = []

    def open_file(self, source: Source, options: Mapping[str, str], name: str = "") -> Reader:
        """As headrace.readers.formats.open_file. ConfigError too where a limit is met, or the reader crashes."""
        return _Reader(self, source, options, name)

    def ask(self, source: Source, request: Mapping[str, Any]) -> "_Answer":
        """The stream of a table. ConfigError: the file can't be opened."""
        if not self._idle:
            self._idle.append(_Child(self._limits))
            self._all.append(self._idle[-1])
        answer = _Answer(self._idle.pop(), source)
        try:
            answer.begin(request)
        except ConfigError:
            self.back(answer)
            raise
        return answer

    def back(self, answer: "_Answer") -> None:
        """Take a child back when its answer is read, or not wanted any more."""
        if answer.ended:
            self._idle.append(answer.child)
        else:
            answer.child.end()
            self._all.remove(answer.child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, it: BaseException | None, at: TracebackType | None) -> None:
        for one in self._all:
            one.end()
        self._all, self._idle = [], []


class _Child:
    """A process that reads files."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.impatient = limits, False
        argv = [sys.executable, "-P", "-m", "headrace.readers.child"]
        argv += ["--memory", str(limits.memory), "--cpu", str(limits.cpu)]
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _LEAN
        env["PYTHONPATH"] = str(Path(__file__).parents[2])
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=self._said, env=env)
        self.out = cast("IO[bytes]", self._process.stdout)

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request."""
        it = cast("IO[bytes]", self._process.stdin)
        with contextlib.suppress(BrokenPipeError):  # reading the answer tells why
            it.write(orjson.dumps(request) + b"\n")
            it.flush()

    def wait(self, step: Callable[[], T]) -> T:
        """What `step` reads; the child is killed where it takes too long."""
        timer = threading.Timer(self.limits.patience, self._kill)
        timer.daemon = True
        timer.start()
        try:
            return step()
        finally:
            timer.cancel()

    def _kill(self) -> None:
        self.impatient = True
        self._process.kill()

    def death(self) -> str:
        """Why it ended, and what to do."""
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        limits = self.limits
        if self.impatient:
            return f"no row came for {limits.patience:g} s. Have a look at the file; if it is good, allow more time"
        if code in {child.NO_MEMORY, -signal.SIGABRT, -signal.SIGKILL}:
            told = f"more than {limits.memory // 1024**2:,} MiB of memory would be needed"
            return f"{told}. Split the file, have it written as CSV or Parquet, or allow more"
        if code == -signal.SIGXCPU:
            return f"more than {limits.cpu} s of CPU time would be needed. Split the file, or allow more"
        self._said.seek(0)
        last = self._said.read()[-2000:].decode(errors="replace").strip().rpartition("\n")[2][:SHOWN]
        return f"its reader broke off (exit code {code}{f': {last}' if last else ''}). Please report it, with the file"

    def end(self) -> None:
        """Kill it where it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(BrokenPipeError):
                cast("IO[bytes]", pipe).close()


class _Answer:
    """The stream of a table."""

    def __init__(self, child_: _Child, source: Source) -> None:
        self.child, self.ended = child_, False
        self._source, self._last = source, -1
        self._stream: Any = None
        self.told: dict[str, Any] = {}

    def begin(self, request: Mapping[str, Any]) -> None:
        """Send the request, and take what is told of the file."""
        self.child.ask({**request, "at": str(self._source.at), "path": str(self._source.path)})
        try:
            self._stream = self.child.wait(lambda: pa.ipc.open_stream(self.child.out))
        except (pa.ArrowException, OSError):
            raise self._dead() from None
        told = self._stream.schema.metadata
        self._check(told)
        self.told = orjson.loads(told[b"told"])

    def batches(self) -> Iterator[Batch]:
        """The rows."""
        while True:
            rows, told = self._next()
            self._check(told)
            if b"end" in told:
                self._end()
                return
            *columns, numbers = rows.columns
            if len(numbers):
                self._last = numbers[-1].as_py()
            rows = pa.RecordBatch.from_arrays(columns, rows.schema.names[:-1])
            yield Batch(numbers, rows, child.left_out(told[b"left_out"]), int(told[b"done"]))

    def _next(self) -> Any:
        try:
            rows, told = self.child.wait(self._stream.read_next_batch_with_custom_metadata)
            rows.validate(full=True)  # the file may have taken the child over
        except (StopIteration, pa.ArrowException, OSError):  # without its last batch a stream has no end
            raise self._dead() from None
        return rows, told

    def _end(self) -> None:
        """Read the end of the stream: the child takes the next file."""
        with contextlib.suppress(StopIteration, pa.ArrowException, OSError):
            self.child.wait(self._stream.read_next_batch_with_custom_metadata)
        self.ended = True

    def _check(self, told: Mapping[bytes, bytes]) -> None:
        if b"error" in told:
            self._end()
            raise ConfigError(told[b"error"].decode())

    def _dead(self) -> ConfigError:
        where = f"after row {self._last}: " if self._last >= 0 else ""
        return ConfigError(f"{self._source.path}: {where}{self.child.death()}")


class _Reader:
    """See Reader."""

    def __init__(self, apart: Apart, source: Source, options: Mapping[str, str], name: str) -> None:
        self._apart, self._source, self._name = apart, source, name
        self._first: _Answer | None = apart.ask(source, {"options": dict(options), "format": name, "table": 0})
        self.dialect: dict[str, str] = self._first.told["dialect"]
        self.tables = tuple(child.table(it) for it in self._first.told["tables"])

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        if table == 0 and self._first:
            answer, self._first = self._first, None
        else:
            answer = self._apart.ask(self._source, {"options": self.dialect, "format": self._name, "table": table})
        try:
            yield from answer.batches()
        finally:
            self._apart.back(answer)

    def close(self) -> None:
        """End what is not read."""
        if self._first:
            self._apart.back(self._first)
            self._first = None
