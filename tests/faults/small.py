"""The stack of compaction's faults, and its oracle: a question asked over and over, `headrace verify`, the files."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.lake import layout, ledger, manifest, sql
from headrace.store.open import open_store
from tests.faults.asking import answered
from tests.faults.evidence import CLEAN
from tests.faults.readings import STREAM
from tests.faults.world import ROOT, World

GRACE_SECONDS = 15.0
# Files come fast, and rounds too.
OVER: dict[str, Any] = {
    "archive": {"max_age_seconds": 2.0, "idle_seconds": 1.0},
    "compact": {"every_seconds": 2.0, "grace_seconds": GRACE_SECONDS, "files": 4},
}
QUESTION = f"select count(*), count(distinct (_partition, _offset)) from {STREAM}"
PAUSE_SECONDS = 0.5


@dataclass
class Poll:
    """What came of a question that was asked again and again. `ask` gives (rows, positions)."""

    ask: Callable[[], tuple[int, int]]
    answers: int = 0
    fell: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)  # there was no answer
    most: int = 0

    def once(self) -> None:
        """Ask, and note what is wrong with the answer."""
        try:
            rows, places = self.ask()
        except HeadraceError as e:
            self.away.append(str(e))
            return
        self.answers += 1
        if rows != places:
            self.doubled.append(f"{rows:,} rows at {places:,} positions")
        if rows < self.most:
            self.fell.append(f"from {self.most:,} rows to {rows:,}")
        self.most = max(self.most, rows)


class Polling:
    """Polls in threads of their own, from `start` to `end`."""

    def __init__(self, cfg: Config, threads: int = 1) -> None:
        self.polls = [Poll(lambda: counted(cfg)) for _ in range(threads)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(p,), daemon=True) for p in self.polls]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _run(self, poll: Poll) -> None:
        while not self._stop.is_set():
            poll.once()
            self._stop.wait(PAUSE_SECONDS)


def counted(cfg: Config) -> tuple[int, int]:
    """How many rows the stream has, and at how many positions."""
    with sql.connect(cfg, QUESTION) as lake, sql.explained(cfg):
        found = sql.run(lake, QUESTION).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


def direct(world: World) -> Config:
    """The configuration with the S3 server itself, not the proxy before it: whoever asks is not who is disturbed."""
    cfg, (host, port) = world.config, world.s3.upstream
    return cfg.model_copy(update={"store": cfg.store.model_copy(update={"endpoint": f"{host}:{port}"})})


def judge(world: World, polling: Polling, *, steady: bool) -> list[str]:
    """What is wrong, once all is stored. Notes figures in the world. `steady`: every question must have an answer."""
    polling.end()
    polls = polling.polls
    cfg = direct(world)
    stored, left, removed = answered(lambda: files(cfg))
    answers, away = sum(p.answers for p in polls), [w for p in polls for w in p.away]
    fell, doubled = [w for p in polls for w in p.fell], [w for p in polls for w in p.doubled]
    world.figures |= {
        "compact_stored": stored, "compact_left": left, "compact_removed": removed, "compact_polls": answers,
        "compact_fell": len(fell), "compact_doubled": len(doubled),
    }  # fmt: skip
    wrong = [f"count(*) fell: {', '.join(fell[:3])}"] * bool(fell)
    wrong += [f"rows twice: {', '.join(doubled[:3])}"] * bool(doubled)
    wrong += [f"{len(away)} questions without an answer: {away[:1]}"] * bool(steady and away)
    wrong += ["a question was answered fewer than 5 times: this proves nothing"] * (answers < 5 * len(polls))
    wrong += [f"{left} files of {stored} are still read: nothing was merged"] * (left >= stored)
    return wrong + verified(world)


def files(cfg: Config) -> tuple[int, int, int]:
    """How many files the archive has stored by its ledger, how many are read now, and how many are gone."""
    store = open_store(cfg.store)
    named = {f.key for e in ledger.read(store, layout.ledger_prefix(CLEAN)) for f in e.files}
    there = {info.key for info in manifest.listing(store, CLEAN)}
    return len(named), len(manifest.visible(store, CLEAN).files), len(named - there)


def verified(world: World) -> list[str]:
    """What `headrace verify` finds wrong; tried again for a minute, as it takes what is under way for missing."""
    until = time.monotonic() + 60
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "--state", str(world.state.path), "verify", "--wait", "30"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0 or time.monotonic() > until:
            said = (done.stdout + done.stderr)[-600:]
            return [f"headrace verify ends with {done.returncode}: {said}"] * (done.returncode != 0)
        time.sleep(2)
