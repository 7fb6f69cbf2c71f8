"""The loss ledger: is every reading that reached Kafka in the lake exactly once, and if not, where is it not?"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import journal
from headrace.lake import copies, devices, ledger
from headrace.lake.devices import Devices
from headrace.lake.flow import Flow, Stage, stream_name
from headrace.lake.ledger import Entry
from headrace.lake.rows import Rows, Source
from headrace.lake.views import contract_of
from headrace.protocol.clean_note import CleanNote
from headrace.protocol.names import CLEAN, raw_topic, stream_of
from headrace.protocol.wire import EVENT_ID
from headrace.store.base import ObjectStore


@dataclass
class Part:
    """The answer for one partition. All are numbers of readings, except `open_intents`."""

    stored: int = 0
    gaps: int = 0
    duplicates: int = 0
    repeats_dropped: int = 0
    refused: int = 0  # by the archive, into the dead letters
    open_intents: int = 0
    lag: int = 0  # not cleaned or stored yet


@dataclass
class Stream:
    """The answer for one stream, or one archived topic. `problems` says in words where gaps and duplicates are."""

    partitions: dict[int, Part] = field(default_factory=dict)
    dead_letters: int = 0
    dead_letters_stored: int = 0  # that are also rows: they count as rows
    dead_letters_redriven: int = 0  # sent again: they count as what they became
    dead_letters_dropped: int = 0  # by a person: neither waiting nor lost
    problems: list[str] = field(default_factory=list)
    devices: Devices | None = None  # where the contract has a field of the role sequence, and rows are numbered

    def total(self) -> Part:
        """The sums over the partitions."""
        parts = list(self.partitions.values())
        return Part(**{name: sum(getattr(p, name) for p in parts) for name in Part.__annotations__})

    def to_json(self) -> dict[str, Any]:
        """As `headrace verify --json` prints it."""
        return {
            **asdict(self.total()),
            "dead_letters": self.dead_letters,
            "dead_letters_stored": self.dead_letters_stored,
            "dead_letters_redriven": self.dead_letters_redriven,
            "dead_letters_dropped": self.dead_letters_dropped,
            "problems": self.problems,
            "devices": self.devices.to_json() if self.devices is not None else None,
            "partitions": {str(p): asdict(part) for p, part in sorted(self.partitions.items())},
        }


@dataclass
class Report:
    """The whole answer."""

    streams: dict[str, Stream] = field(default_factory=dict)
    unrouted_dead_letters: int = 0  # of no stream: no route matched
    other_dead_letters: dict[str, int] = field(default_factory=dict)  # by stream, of those not archived here

    @property
    def good(self) -> bool:
        """Whether no reading is missing and none is there twice."""
        totals = [s.total() for s in self.streams.values()]
        return not any(t.gaps or t.duplicates for t in totals)

    @property
    def under_way(self) -> int:
        """Readings that are not cleaned or stored yet: nothing can be said of them."""
        return sum(s.total().lag for s in self.streams.values())

    @property
    def numbers_good(self) -> bool:
        """Whether no number that a device gave its readings is missing or stored twice."""
        return not any(d.missing or d.again for s in self.streams.values() if (d := s.devices) is not None)

    def to_json(self) -> dict[str, Any]:
        """As `headrace verify --json` prints it."""
        return {
            "good": self.good,
            "streams": {name: stream.to_json() for name, stream in self.streams.items()},
            "unrouted_dead_letters": self.unrouted_dead_letters,
            "other_dead_letters": self.other_dead_letters,
        }


def compare(
    cfg: Config,
    flow: Flow,
    store: ObjectStore,
    source: Source,
    *,
    every_device: bool = False,
    notify: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compare what Kafka, the ledger and the rows say. Take `flow` before the call: it must be older than the others.

    Lists the devices whose numbers have something wrong, or with `every_device` all. `notify` is called with what is
    read just now, in words.
    """
    report = Report({stream_name(t): Stream() for t in cfg.archived})
    notify("reading the dead letters in Kafka")
    known = journal.load(cfg)
    letters = list(known.open())
    for topic, entries in _ledgers(cfg.archived, store, notify):
        stream = report.streams[stream_name(topic)]
        notify(f"reading the rows of {topic} in the lake")
        rows = source.load(topic, devices.numbering(contract_of(cfg, stream_of(topic))))
        numbers = {p for t, p in flow.archived if t == topic} | {e.partition for e in entries} | set(rows.stored)
        for number in sorted(numbers):
            mine = [e for e in entries if e.partition == number]
            stream.partitions[number] = _part(flow, topic, number, mine, rows, source, stream.problems)
        stream.devices = devices.read(source, every=every_device) if rows.numbered else None
        stream.dead_letters_stored = source.held([s for x in letters if (s := _source(x, topic)) is not None])
    count_letters(report, letters)
    count_settled(report, known)
    return report


def _ledgers(
    topics: Sequence[str], store: ObjectStore, notify: Callable[[str], None]
) -> Iterator[tuple[str, list[Entry]]]:
    """Each topic with its ledger. The next one is read while the caller looks at the rows of this one.

    A ledger is read whole before its topic's files are listed: a file that an entry names is then there.
    """

    def read(topic: str) -> list[Entry]:
        return list(copies.read(store, topic))

    with ThreadPoolExecutor(1, thread_name_prefix="next-ledger") as pool:
        coming = [pool.submit(read, topic) for topic in topics[:1]]
        for i, topic in enumerate(topics):
            notify(f"reading the ledger of {topic} in the lake")
            entries = coming.pop().result()
            coming += [pool.submit(read, after) for after in topics[i + 1 : i + 2]]
            yield topic, entries


def _part(
    flow: Flow, topic: str, number: int, entries: Sequence[Entry], rows: Rows, source: Source, problems: list[str]
) -> Part:
    where = f"{topic}/{number}"
    stage = flow.archived.get((topic, number))
    part = Part(stored=rows.stored.get(number, 0), duplicates=rows.duplicates.get(number, 0))
    if part.duplicates:
        problems.append(f"{where}: {part.duplicates:,} rows are there more than once")
    found = [*chain_gaps(entries, flow.ids.get(topic, ""), stage), *row_gaps(entries, rows.files, rows.visible.cover)]
    part.repeats_dropped = sum(ledger.count(e.repeats) for e in entries)
    part.refused = sum(ledger.count(e.refused) for e in entries)
    note = flow.archive_note(topic, number)
    part.open_intents = int(note is not None and note.intent is not None)
    if stage is not None:
        part.lag = stage.waiting
    if topic.endswith(CLEAN):
        raw = flow.raw.get((raw_topic(stream_of(topic)), number))
        clean = flow.clean_note(stream_of(topic), number)
        derived = flow.derived.get((stream_of(topic), number))
        made = flow.derive_note(stream_of(topic), number)
        if derived is not None:
            part.lag += derived.waiting
        if derived is not None and made is not None:
            found += raw_gaps(derived, made, "derive")
        if raw is not None:
            part.lag += raw.waiting
        if raw is not None and clean is not None:
            found += raw_gaps(raw, clean)
            part.repeats_dropped += clean.counts.repeated
            if stage is not None and not stage.waiting and not part.open_intents:
                held = source.sources_between(number, clean.start, raw.committed or 0)
                found += emitted_gaps(clean, held, part.refused)
    part.gaps = sum(n for n, _ in found)
    problems += [f"{where}: {n:,} {words}" for n, words in found]
    return part


Gap = tuple[int, str]  # how many readings, and in words where


def chain_gaps(entries: Sequence[Entry], topic_id: str, stage: Stage | None) -> list[Gap]:
    """Offsets of one partition that are in no ledger entry, or that an entry does not account for.

    `entries` of all incarnations of the topic, in order; those of `topic_id` must reach what is committed.
    """
    out: list[Gap] = []
    by_id: dict[str, list[Entry]] = {}
    for e in entries:
        by_id.setdefault(e.topic_id, []).append(e)
    for incarnation, mine in by_id.items():
        end = mine[0].start
        for e in mine:
            if e.start > end:
                out.append((e.start - end, f"offsets from {end} to {e.start} are in no ledger entry"))
            if e.unaccounted() > 0:
                out.append((e.unaccounted(), f"offsets from {e.start} to {e.end} are not accounted for"))
            if e.lost:
                out.append(
                    (ledger.count(e.lost), f"records from {e.start} to {e.end} were deleted before they were stored")
                )
            end = max(end, e.end)
        if incarnation == topic_id and stage is not None and (stage.committed or 0) > end:
            out.append(
                ((stage.committed or 0) - end, f"offsets from {end} to {stage.committed} are in no ledger entry")
            )
    if stage is not None and stage.committed is not None and stage.low > stage.committed:
        out.append((stage.low - stage.committed, f"records before {stage.low} were deleted before they were stored"))
    return out


def row_gaps(
    entries: Iterable[Entry], files: Mapping[str, int], cover: Callable[[str], str | None] = lambda _: None
) -> list[Gap]:
    """Rows that the ledger names and that are not in the files (`files`: object key to rows).

    `cover`: the compacted file that holds the rows of a file, if one does. It must have those of all such together.
    """
    wanted: Counter[str] = Counter()
    for e in entries:
        for f in e.files:
            wanted[cover(f.key) or f.key] += f.rows
    short = {key: rows - files.get(key, 0) for key, rows in wanted.items()}
    return [(missing, f"rows are missing in {key}") for key, missing in short.items() if missing > 0]


def raw_gaps(raw: Stage, note: CleanNote, reader: str = "clean") -> list[Gap]:
    """Offsets that clean or derive committed and did not count, and those that Kafka deleted before they were read."""
    out = []
    committed = raw.committed or 0
    uncounted = committed - note.start - note.counts.total
    if uncounted > 0:
        out.append((uncounted, f"offsets from {note.start} to {committed} are not accounted for by {reader}"))
    if raw.low > committed:
        out.append((raw.low - committed, f"records before {raw.low} were deleted before {reader} read them"))
    return out


def emitted_gaps(note: CleanNote, held: int, refused: int) -> list[Gap]:
    """Rows that clean has passed on and that are not in the lake, once the archive has dealt with all of them."""
    missing = note.counts.kept + note.counts.changed - held - refused
    return [(missing, "rows that clean passed on are not in the lake")] if missing > 0 else []


def _source(letter: deadletters.ReadLetter, topic: str) -> tuple[int, int, int, int] | None:
    """The raw reading of a dead letter of clean, if it belongs to the stream of `topic`."""
    s = letter.source
    if not topic.endswith(CLEAN) or s.get("topic") != raw_topic(stream_of(topic)) or EVENT_ID not in letter.headers:
        return None
    return int(s.get("partition", -1)), int(s.get("epoch", -1)), int(s.get("offset", -1)), int(s.get("index", 0))


def count_settled(report: Report, known: journal.Journal) -> None:
    """Enter the letters that were redriven or dropped into the report by stream."""
    for key, letter in known.letters.items():
        stream = report.streams.get(letter.text("stream"))
        if stream is None or known.is_open(key):
            continue
        if known.state(key) is journal.State.DROPPED:
            stream.dead_letters_dropped += 1
        else:
            stream.dead_letters_redriven += 1


def count_letters(report: Report, letters: Iterable[deadletters.ReadLetter]) -> None:
    """Enter the open dead letters into the report by stream. Those that are rows too count as rows."""
    others: Counter[str] = Counter()
    for letter in letters:
        name = letter.text("stream")
        stream = report.streams.get(name)
        if stream is not None:
            stream.dead_letters += 1
        elif name:
            others[name] += 1
        else:
            report.unrouted_dead_letters += 1
    report.other_dead_letters = dict(sorted(others.items()))
    for stream in report.streams.values():
        stream.dead_letters -= stream.dead_letters_stored
