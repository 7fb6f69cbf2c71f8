"""What became of uploads: they are followed to the lake, and each of their rows is counted there."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import journal
from headrace.deadletters.journal import State
from headrace.errors import TransientError
from headrace.lake import sql
from headrace.lake.flow import Flow, Stage, Watcher
from headrace.lake.remote import literal, name
from headrace.protocol.names import clean_topic, raw_topic
from headrace.protocol.wire import EVENT_ID
from headrace.uploads.desk import Desk
from headrace.uploads.order import UPLOAD_BYTES, Order

_EVERY_SECONDS = 0.5


class Progress(NamedTuple):
    """Rows of all streams that take files, since the beginning."""

    sent: int  # in .raw
    stored: int  # in the lake
    waiting: int  # uploads without a receipt


class Outcome(NamedTuple):
    """What became of an upload's rows. `stored` counts each row once, `copies` those that are there again."""

    order: Order
    stored: int = 0
    copies: int = 0
    refused: int = 0  # dead letters of rows that can't be readings
    letters: int = 0  # dead letters of readings: of clean, or of the archive
    failed: str = ""  # why it was not loaded to its end

    @property
    def missing(self) -> int:
        """Rows of which nothing is known."""
        return self.order.readings - self.stored - self.letters + self.order.refused - self.refused

    @property
    def good(self) -> bool:
        """Whether each row is exactly one of stored, a dead letter, or left out."""
        return not self.missing and not self.copies and not self.failed

    def to_json(self) -> dict[str, object]:
        """As `headrace upload --json` prints it."""
        said = {key: value for key, value in self._asdict().items() if key != "order"}
        return {**self.order._asdict(), **said, "missing": self.missing, "good": self.good}


class Follower:
    """Follows the streams `streams` of files from now on."""

    def __init__(self, desk: Desk, watcher: Watcher, streams: Collection[str]) -> None:
        self._desk, self._watcher, self._streams = desk, watcher, frozenset(streams)
        self._before = desk.receipt_names()
        flow = watcher.snapshot()
        self._begin = self._ends(flow, {**flow.raw, **flow.archived})

    def wait(self, uploads: Collection[str], patience: float, notify: Callable[[Progress], None]) -> bool:
        """Wait until all rows of uploads are in the lake; False where nothing has moved for `patience` seconds.

        A server that is away is waited for as well.
        """
        last, since = None, time.monotonic()
        raw: dict[tuple[str, int], int] | None = None
        clean: dict[tuple[str, int], int] | None = None
        while True:
            if time.monotonic() - since > patience:
                return False
            try:
                flow, names = self._watcher.snapshot(), self._desk.receipt_names()
            except TransientError:
                time.sleep(_EVERY_SECONDS)
                continue
            waiting = len(set(uploads) - {it.upload for it in names if not it.failed or it not in self._before})
            now = Progress(self._moved(flow, raw=True), self._moved(flow, raw=False), waiting)
            notify(now)
            if raw is None and not waiting:
                raw = self._ends(flow, flow.raw)
            if raw is not None and clean is None and _reached(flow.raw, raw):
                clean = self._ends(flow, flow.archived)
            if clean is not None and _reached(flow.archived, clean):
                return True
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(_EVERY_SECONDS)

    def _ends(self, flow: Flow, stages: Mapping[tuple[str, int], Stage]) -> dict[tuple[str, int], int]:
        """Where the logs of the streams end, of those in `stages`."""
        topics = {make(s) for s in self._streams for make in (raw_topic, clean_topic)}
        return {p: end for p, end in flow.ends().items() if p[0] in topics and p in stages}

    def _moved(self, flow: Flow, *, raw: bool) -> int:
        """Records in .raw since the beginning, or of .clean in the lake."""
        if raw:
            return sum(end - self._begin[p] for p, end in self._ends(flow, flow.raw).items())
        stored = {p: it.committed or it.low for p, it in flow.archived.items() if p in self._begin}
        return sum(max(0, offset - self._begin[p]) for p, offset in stored.items())


def _reached(stages: Mapping[tuple[str, int], Stage], ends: Mapping[tuple[str, int], int]) -> bool:
    """Whether all before these ends is dealt with."""
    return all((it := stages[p]).low >= end or (it.committed or 0) >= end for p, end in ends.items())


def count(cfg: Config, desk: Desk, orders: Sequence[Order]) -> list[Outcome]:
    """What became of each, counted in the lake and among the dead letters in Kafka."""
    stored: dict[str, tuple[int, int]] = {}
    for stream in {it.stream for it in orders}:
        ids = ", ".join(literal(it.upload) for it in orders if it.stream == stream)
        asked = (
            f"SELECT _upload, count(DISTINCT _row), count(*) FROM {name(stream)} WHERE _upload IN ({ids}) GROUP BY 1"  # noqa: S608 - quoted
        )
        with sql.connect(cfg, asked) as lake, sql.explained(cfg):
            stored |= {upload: (rows, total) for upload, rows, total in sql.run(lake, asked).fetchall()}
    lacking = {it.upload for it in orders if it.refused or stored.get(it.upload, (0, 0))[0] != it.readings}
    refused, letters = _letters(cfg, lacking) if lacking else ({}, {})
    out = []
    for it in orders:
        rows, total = stored.get(it.upload, (0, 0))
        failed = "" if rows == it.readings else _failed(desk, it.upload)
        counts = len(refused.get(it.upload, ())), len(letters.get(it.upload, ()))
        out.append(Outcome(it, rows, total - rows, *counts, failed))
    return out


def _failed(desk: Desk, upload: str) -> str:
    receipts = desk.receipts(upload)
    return "" if any(not it.failed for it in receipts) else next((it.failed for it in receipts), "no receipt says so")


def _letters(cfg: Config, uploads: Collection[str]) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """By upload: the rows that became dead letters as they were loaded, and after that.

    One that was sent again counts as what it became: a row of the lake, or the newer letter.
    """
    refused, later = dict[str, set[int]](), dict[str, set[int]]()
    known = journal.load(cfg)
    for key, letter in known.letters.items():
        if known.state(key) in {State.REDRIVEN, State.REFUSED_AGAIN}:
            continue
        event_id = letter.headers.get(EVENT_ID, b"")
        upload = event_id[:UPLOAD_BYTES].hex()
        if len(event_id) == 2 * UPLOAD_BYTES and upload in uploads:
            here = refused if letter.text("stage") == deadletters.Stage.DERIVE else later
            here.setdefault(upload, set()).add(int.from_bytes(event_id[-4:]))
    return refused, later
