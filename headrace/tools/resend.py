"""Dead letters sent again: the bridge's replay as a process, then cleaning's verdict on what it sent."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

import headrace
from headrace import kafka, replays
from headrace.config import Config
from headrace.errors import ConfigError, TransientError
from headrace.replays import Journal, Place

_EVERY_SECONDS = 0.3
Tell = Callable[[int, str], None]  # how many letters are dealt with; what is being done, where that changes


class Fate(StrEnum):
    """What became of a letter."""

    WOULD_GO = "would go"  # a trial: nothing was sent
    REPLAYED = "replayed"  # its readings passed cleaning
    REFUSED = "refused"  # nothing was sent: the letter stays as it is
    REFUSED_AGAIN = "refused again"  # sent, and at least in part a newer letter now
    WAITING = "sent, not cleaned yet"
    UNSURE = "unsure"  # an earlier replay broke off, too long ago to tell what it sent


@dataclass
class Result:
    """What became of one letter; the words are the first refusal's."""

    key: bytes
    number: int
    fate: Fate
    reason: str = ""
    field_name: str = ""
    detail: str = ""
    readings: int = 0
    to: list[Place] = field(default_factory=list)
    became: list[bytes] = field(default_factory=list)  # newer letters

    @property
    def good(self) -> bool:
        """Whether nothing is left to be done."""
        return self.fate in {Fate.WOULD_GO, Fate.REPLAYED}


@dataclass(frozen=True)
class Wish:
    """Which letters to send; `again` those too that were sent before."""

    keys: list[bytes]
    again: bool
    dry_run: bool


def run(cfg: Config, wish: Wish, config_file: Path, wait: float, tell: Tell) -> list[Result]:
    """Send the letters and wait `wait` seconds at most until cleaning has judged them; the results in any order.

    ConfigError: contracts or routes are wrong, and nothing was sent. TransientError: it broke off, and the same wish
    finishes it.
    """
    results = []
    for answer in _bridge(wish, config_file):
        results.append(_result(answer, dry_run=wish.dry_run))
        tell(len(results), "")
    sent = [r for r in results if r.fate is Fate.WAITING]
    if sent:
        tell(len(results), "cleaning")
        try:
            judge(sent, _passed(cfg, [place for r in sent for place in r.to], wait), replays.load(cfg))
        except TransientError as e:  # they are sent all the same: only what became of them is not known
            for r in sent:
                r.detail = str(e)
    return results


def judge(sent: Iterable[Result], passed: dict[tuple[str, int], int], journal: Journal) -> None:
    """Settle the fate of sent letters. `passed`: up to where cleaning has judged, by topic and partition."""
    for r in sent:
        newer = [journal.letters[k] for k in journal.newer.get((r.key, r.number), ())]
        if newer:
            r.fate, r.became = Fate.REFUSED_AGAIN, [it.key for it in newer]
            r.reason, r.field_name, r.detail = (newer[0].text(n) for n in ("reason", "field", "detail"))
        elif all(offset < passed.get((topic, partition), 0) for topic, partition, offset in r.to):
            r.fate = Fate.REPLAYED


def _bridge(wish: Wish, config_file: Path) -> Iterable[dict[str, Any]]:
    if find_spec("msgspec") is None:  # rather than the process's traceback
        raise ModuleNotFoundError("the bridge is not installed", name="msgspec")
    request = {"keys": [k.hex() for k in wish.keys], "again": wish.again, "dry_run": wish.dry_run}
    argv = [sys.executable, "-P", "-m", "bridge", "replay", "--config", str(config_file)]
    # -P keeps the working folder off the path; this is where headrace itself was found.
    env = {**os.environ, "PYTHONPATH": str(Path(headrace.__file__).parent.parent)}
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, env=env) as process,
    ):
        # Ctrl-C reaches the process too: it ends behind the letters in hand, and what it did is told as ever.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it ended before it read on: its words and exit code tell why
                process.stdin.write(orjson.dumps(request))
            with suppress(BrokenPipeError):
                process.stdin.close()
            for line in process.stdout:
                yield orjson.loads(line)
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
        words.seek(0)
        text = words.read().decode(errors="replace").strip()
    if code == 2:
        raise ConfigError(text)
    if code:
        raise TransientError(f"{text or f'the replay ended with code {code}'}\nThe same command finishes it")


def _result(answer: dict[str, Any], *, dry_run: bool) -> Result:
    fate = Fate.WAITING if answer["outcome"] == "sent" else Fate(answer["outcome"])
    if dry_run and fate is Fate.WAITING:
        fate = Fate.WOULD_GO
    reason, name, detail = (str(answer.get(n, "")) for n in ("reason", "field", "detail"))
    to = [(t, p, o) for t, p, o in answer["to"]]
    return Result(
        bytes.fromhex(answer["key"]), answer["number"], fate, reason, name, detail, answer.get("readings", 0), to
    )


def _passed(cfg: Config, places: list[Place], wait: float) -> dict[tuple[str, int], int]:
    """How far cleaning is, once it has passed all the places or the time is over."""
    ends: dict[tuple[str, int], int] = {}
    for topic, partition, offset in places:
        ends[topic, partition] = max(offset + 1, ends.get((topic, partition), 0))
    if not ends:
        return {}
    deadline = time.monotonic() + wait
    client = kafka.consumer(cfg.kafka, cfg.clean.group)
    try:
        while True:
            found = {place: offset or 0 for place, (offset, _) in kafka.committed(client, list(ends)).items()}
            if all(found[place] >= end for place, end in ends.items()) or time.monotonic() >= deadline:
                return found
            time.sleep(_EVERY_SECONDS)
    finally:
        client.close()
