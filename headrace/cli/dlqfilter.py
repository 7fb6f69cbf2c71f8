"""The options by which every `headrace dlq` command chooses letters, and the table that says which they are."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.output import data, printable
from headrace.errors import ConfigError, Reason

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.deadletters import ReadLetter
    from headrace.deadletters.choosing import Filter
    from headrace.deadletters.journal import Journal

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Keys = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY", help="Letters by their keys, or the keys' beginnings.", show_default=False),
]
Stream = Annotated[str, typer.Option(help="Only those of this stream.", show_default=False)]
Reason_ = Annotated[str, typer.Option("--reason", help="Only those with this reason.", show_default=False)]
Stage_ = Annotated[
    str,
    typer.Option(
        "--stage", help="Only those that this stage refused: bridge, clean, derive or archive.", show_default=False
    ),
]
Device = Annotated[str, typer.Option(help="Only those of this device.", show_default=False)]
Since = Annotated[
    str, typer.Option(help="Only those since then: 90m, 6h, 2d, or an ISO 8601 time.", show_default=False)
]
Until = Annotated[str, typer.Option(help="Only those before then, written likewise.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def filter_of(stream: str, reason: str, stage: str, device: str, since: str, until: str) -> "Filter":
    """The filter of these options. ConfigError for a value that no letter can have."""
    from headrace.deadletters import Stage
    from headrace.deadletters.choosing import Filter

    for name, value, known in (("reason", reason, list(Reason)), ("stage", stage, list(Stage))):
        if value and value not in known:
            raise ConfigError(f"--{name} {value}: one of {', '.join(known)}")
    after, before = (moment(f"--{n}", text) if text else None for n, text in (("since", since), ("until", until)))
    if after is not None and before is not None and after >= before:
        raise ConfigError(f"--since {since} is not before --until {until}: no letter can be chosen")
    return Filter(stream, reason, stage, device, after, before)


def moment(option: str, text: str) -> int:
    """Milliseconds since 1970 UTC of an option such as `--since`: how long ago, or a time. ConfigError otherwise."""
    try:
        if text[-1:] in _UNITS and text[:-1].replace(".", "", 1).isdecimal():
            when = datetime.now(UTC) - timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])
        else:
            when = datetime.fromisoformat(text)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return int(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ConfigError(f"{option} {text}: write 90m, 6h, 2d, or a time such as 2026-01-31T12:00:00Z") from None


def load(cfg: "Config", wanted: "Filter", prefixes: Sequence[str]) -> "tuple[Journal, Filter]":
    """The letters with what became of each, and `wanted` for those alone whose keys begin so; for all without prefixes.

    ConfigError for a text that can't be the beginning of a key, and for one with which no key begins, or several.
    TransientError while Kafka is away.
    """
    from headrace import kafka
    from headrace.deadletters import journal

    check_prefixes(prefixes)
    kafka.probe(cfg.kafka)
    known = journal.load(cfg)
    return known, wanted.of_keys(chosen(known.letters, prefixes))


def check_prefixes(keys: Iterable[str]) -> None:
    """ConfigError for a text that can't be the beginning of a key."""
    for key in keys:
        if not key.strip() or set(key.lower().strip()) - set("0123456789abcdef"):
            raise ConfigError(f"{key}: a key is written in hexadecimal, as `headrace dlq list` shows it")


def chosen(letters: Iterable[bytes], prefixes: Iterable[str]) -> list[bytes]:
    """The one key that begins with each prefix. ConfigError when no key does, or several."""
    keys = list(letters)
    out = []
    for prefix in prefixes:
        found = [k for k in keys if k.hex().startswith(prefix.lower().strip())]
        if len(found) != 1:
            raise ConfigError(f"{len(found) or 'no'} letters have a key that begins with {prefix}: give more of it")
        out.append(found[0])
    return out


@dataclass
class Group:
    """Letters with the same stream, reason, field and stage, and of the same device where that is asked for."""

    stream: str
    reason: str
    field: str
    stage: str
    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    devices: Counter[str] = dataclasses.field(default_factory=Counter)
    latest: "ReadLetter | None" = None

    def to_json(self) -> dict[str, Any]:
        """As `headrace dlq list --json` prints it."""
        from headrace.deadletters.choosing import time_text

        assert self.latest is not None
        example = {"key": self.latest.key.hex(), "detail": self.latest.text("detail"), "source": self.latest.source}
        names = {"stream": self.stream, "reason": self.reason, "field": self.field, "stage": self.stage}
        times = {"first": time_text(self.first_ms), "last": time_text(self.last_ms)}
        return {**names, "count": self.count, **times, "devices": dict(self.devices.most_common()), "example": example}


def group(letters: "Iterable[ReadLetter]", *, by_device: bool = False) -> list[Group]:
    """The letters in groups, by stream, and in a stream the largest first."""
    out: dict[tuple[str, ...], Group] = {}
    for it in letters:
        names = (it.text("stream"), it.text("reason"), it.text("field"), it.text("stage"))
        g = out.setdefault((*names, it.text("device") if by_device else ""), Group(*names, first_ms=it.time_ms))
        g.count += 1
        g.first_ms = min(g.first_ms, it.time_ms)
        if it.text("device"):
            g.devices[it.text("device")] += 1
        if it.time_ms >= g.last_ms:
            g.last_ms, g.latest = it.time_ms, it
    return sorted(out.values(), key=lambda g: (g.stream, -g.count, g.reason, g.field))


_HEAD = ("STREAM", "REASON", "FIELD", "STAGE", "DEVICE", "LETTERS", "FIRST (UTC)", "LAST (UTC)")
_RIGHT = 5  # the column that is flush right


def show_groups(groups: list[Group], write: Callable[[str], None] = data) -> None:
    """A line for each group, and under it its latest letter: key and message. `write` takes each line."""
    rows = [_HEAD, *(_cells(g) for g in groups)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    for row, g in zip(rows, [None, *groups], strict=True):
        cells = [t.rjust(w) if i == _RIGHT else t.ljust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True))]
        write("  ".join(cells).rstrip())
        if g is not None and g.latest is not None:
            write(f"    e.g. {g.latest.key.hex()}  {printable(g.latest.text('detail'))}")


def _cells(g: Group) -> tuple[str, ...]:
    from headrace.deadletters.choosing import time_text

    devices = next(iter(g.devices), "-") if len(g.devices) < 2 else f"{len(g.devices):,} devices"
    texts = (printable(t) or "-" for t in (g.stream, g.reason, g.field, g.stage, devices))
    times = (time_text(ms)[:-1].replace("T", " ") for ms in (g.first_ms, g.last_ms))
    return *texts, f"{g.count:,}", *times


def settled(known: "Journal", letter: "ReadLetter") -> dict[str, Any]:
    """A letter's state, its latest redrive and who dropped it, for JSON."""
    from headrace.deadletters.choosing import time_text

    note, drop = known.notes.get(letter.key), known.drops.get(letter.key)
    out: dict[str, Any] = {
        "state": known.state(letter.key),
        "redrives": note.number if note else 0,
        "sent_to": [{"topic": t, "partition": p, "offset": o} for t, p, o in note.to] if note else [],
        "became": [it.key.hex() for it in known.became(letter.key)],
    }
    if drop is not None:
        out["dropped"] = {"by": drop.by, "at": time_text(drop.at // 1000), "filter": drop.filter}
    return out
