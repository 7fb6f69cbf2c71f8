"""A round in a process of its own: started, listened to, and ended with the one that asked for it."""

import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

import orjson

from headrace.config import Config
from headrace.errors import ConfigError, FatalError, HeadraceError, TransientError
from headrace.runtime.service import IMPORT_PATH

ARGV = (sys.executable, "-P", "-m", "processors.compact.work")
SILENT_SECONDS = 600.0  # without a word: the process is taken for hung
END_SECONDS = 30.0  # after `stop`, for the step that it is at
_LOOK_SECONDS = 0.5
Counts = dict[str, Any]  # as Report.to_json of headrace.lake.compaction


class LostRoundError(HeadraceError):
    """The process ended without its report, or had to be ended: what it was at, the next round does."""


_ERRORS: dict[str, type[HeadraceError]] = {
    e.__name__: e for e in (ConfigError, TransientError, FatalError, LostRoundError)
}


def run_round(
    config: Config, stop: threading.Event, alive: Callable[[], None], argv: Sequence[str] = ARGV
) -> Counts | None:
    """What a round has counted; None where `stop` came before its end. `alive` is called all the while.

    Raises what the round raised (TransientError, ConfigError, FatalError), or LostRoundError.
    """
    env = {**os.environ, "PYTHONPATH": IMPORT_PATH}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        said: queue.SimpleQueue[Counts | None] = queue.SimpleQueue()
        threading.Thread(target=_hear, args=(child.stdout, said), name="round", daemon=True).start()
        try:
            with suppress(BrokenPipeError):  # it has ended already: its exit code says more
                child.stdin.write(pickle.dumps(config))
                child.stdin.flush()
            return _result(child, said, stop, alive)
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()
            if child.poll() is None:
                child.kill()


def _hear(output: IO[bytes], said: "queue.SimpleQueue[Counts | None]") -> None:
    try:
        for line in output:
            said.put(orjson.loads(line))
    except ValueError:
        pass  # it ended in the middle of a line
    finally:
        said.put(None)


def _result(
    child: "subprocess.Popen[bytes]",
    said: "queue.SimpleQueue[Counts | None]",
    stop: threading.Event,
    alive: Callable[[], None],
) -> Counts | None:
    heard, until, word = time.monotonic(), float("inf"), "nothing"
    while True:
        alive()
        if stop.is_set() and until == float("inf"):
            until = time.monotonic() + END_SECONDS
            assert child.stdin is not None
            with suppress(BrokenPipeError):
                child.stdin.close()  # it stops after the step that it is at
        try:
            it = said.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if time.monotonic() > until:
                return None
            if time.monotonic() - heard > SILENT_SECONDS:
                raise LostRoundError(f"said nothing for {SILENT_SECONDS:.0f} s, its last word was: {word}") from None
            continue
        heard = time.monotonic()
        if it is None:
            code = child.wait()
            if stop.is_set():
                return None
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise LostRoundError(f"it ended {how}, at: {word}")
        if "report" in it:
            counts: Counts = it["report"]
            return None if stop.is_set() else counts
        if "error" in it:
            raise _ERRORS[it["kind"]](it["error"])
        word = it["doing"]
