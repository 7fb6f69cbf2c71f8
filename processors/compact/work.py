"""A round, as round.py starts it: `python -m processors.compact.work`.

From standard input it takes the configuration; when that ends, whoever asked for the round wants no more of it, or is
gone, and the round stops between two steps. To standard output it writes a line of JSON for each step, and one for what
came of it.
"""

import os
import pickle
import sys
import threading

import orjson

from headrace.config import Config
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.runtime import logs
from headrace.runtime.service import stopping
from processors import memory

LOST = "LostRoundError"  # of round.py
_NICE = 5  # to the data path this is a background job, which must not starve on a busy machine either


def main() -> int:
    """Make one round."""
    memory.settle()
    logs.setup("compact")
    stop = stopping()
    if hasattr(os, "nice"):
        os.nice(_NICE)
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no line of ours
    config: Config = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that has started this one
    threading.Thread(target=_left, args=(stop,), name="left", daemon=True).start()

    def say(**line: object) -> None:
        os.write(out, orjson.dumps(line) + b"\n")

    try:
        from headrace.lake.compaction import compact
        from headrace.store.open import open_store

        memory.without_pandas()
        report = compact(config, open_store(config.store), stop=stop, notify=lambda doing: say(doing=doing))
        say(report=report.to_json())
    except (ConfigError, TransientError, FatalError) as e:
        say(kind=_kind(e), error=str(e))
    except BrokenPipeError:
        return 1  # nobody listens any more
    except OSError as e:
        from headrace.lake.compaction import no_room

        say(kind=LOST, error=no_room(e))
    return 0


def _kind(error: ConfigError | TransientError | FatalError) -> str:
    return next(it.__name__ for it in (ConfigError, TransientError, FatalError) if isinstance(error, it))


def _left(stop: threading.Event) -> None:
    """Wait for the end of standard input, past what was read of it."""
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
