"""Dead letters redriven: the bridge's redrive process sends them, then cleaning judges what was sent."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from headrace import kafka
from headrace.config import Config
from headrace.deadletters import journal
from headrace.deadletters.exchange import Answer, Fate, Request, decode_answer
from headrace.deadletters.journal import Journal, RecordAt
from headrace.errors import ConfigError, TransientError
from headrace.runtime.service import IMPORT_PATH

_EVERY_SECONDS = 0.3
Tell = Callable[[int, str], None]  # letters finished so far; what is being done, when that changes


@dataclass
class Result:
    """What became of one letter. `reason`, `field_name` and `detail` are those of the first refusal."""

    key: bytes
    number: int
    fate: Fate
    reason: str = ""
    field_name: str = ""
    detail: str = ""
    readings: int = 0
    to: list[RecordAt] = field(default_factory=list)
    became: list[bytes] = field(default_factory=list)  # newer letters

    @property
    def good(self) -> bool:
        """Whether nothing is left to do."""
        return self.fate in {Fate.WOULD_GO, Fate.REDRIVEN}


def run(cfg: Config, request: Request, config_file: Path, wait: float, tell: Tell) -> list[Result]:
    """Redrive letters, then wait at most `wait` seconds until cleaning has judged them. The results in any order.

    ConfigError: contracts or routes are wrong, and nothing was sent. TransientError: the redrive was interrupted, and
    the same request finishes it.
    """
    results = []
    for answer in _bridge(request, config_file):
        results.append(_result(answer))
        tell(len(results), "")
    sent = [r for r in results if r.fate is Fate.WAITING]
    if sent:
        tell(len(results), "cleaning")
        try:
            judge(sent, _passed(cfg, [it for r in sent for it in r.to], wait), journal.load(cfg))
        except TransientError as e:  # they are sent all the same: only what became of them is not known
            for r in sent:
                r.detail = str(e)
    return results


def judge(sent: Iterable[Result], passed: dict[tuple[str, int], int], known: Journal) -> None:
    """Set the fate of sent letters. `passed`: by topic and partition, the offset up to which cleaning has judged."""
    for r in sent:
        newer = [known.letters[k] for k in known.newer.get((r.key, r.number), ())]
        if newer:
            r.fate, r.became = Fate.REFUSED_AGAIN, [it.key for it in newer]
            r.reason, r.field_name, r.detail = (newer[0].text(n) for n in ("reason", "field", "detail"))
        elif all(it.offset < passed.get((it.topic, it.partition), 0) for it in r.to):
            r.fate = Fate.REDRIVEN


def _bridge(request: Request, config_file: Path) -> Iterator[Answer]:
    """What the redrive process answers. ConfigError and TransientError as the process's exit code says."""
    if find_spec("msgspec") is None:  # rather than the process's traceback
        raise ModuleNotFoundError("the bridge is not installed", name="msgspec")
    argv = [sys.executable, "-P", "-m", "bridge", "redrive", "--config", str(config_file)]
    env = {**os.environ, "PYTHONPATH": IMPORT_PATH}
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, env=env) as process,
    ):
        # Ctrl-C reaches the process too: it stops after the letters in hand, and its answers are still read here.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it ended before it read on: its messages and exit code say why
                process.stdin.write(request.encode())
            with suppress(BrokenPipeError):
                process.stdin.close()
            for line in process.stdout:
                yield decode_answer(line)
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
        messages.seek(0)
        text = messages.read().decode(errors="replace").strip()
    if code == 2:
        raise ConfigError(text)
    if code:
        raise TransientError(f"{text or f'the redrive ended with code {code}'}\nThe same command finishes it")


def _result(it: Answer) -> Result:
    return Result(it.key, it.number, it.fate, it.reason, it.field, it.detail, it.readings, list(it.to))


def _passed(cfg: Config, sent: list[RecordAt], wait: float) -> dict[tuple[str, int], int]:
    """How far cleaning is, by topic and partition: once it has passed all records, or `wait` seconds are over."""
    ends: dict[tuple[str, int], int] = {}
    for topic, partition, offset in sent:
        ends[topic, partition] = max(offset + 1, ends.get((topic, partition), 0))
    if not ends:
        return {}
    deadline = time.monotonic() + wait
    client = kafka.consumer(cfg.kafka, cfg.clean.group)
    try:
        while True:
            found = {where: offset or 0 for where, (offset, _) in kafka.committed(client, list(ends)).items()}
            if all(found[where] >= end for where, end in ends.items()) or time.monotonic() >= deadline:
                return found
            time.sleep(_EVERY_SECONDS)
    finally:
        client.close()
