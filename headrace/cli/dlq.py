"""`headrace dlq`: dead letters."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.dlqredrive import redrive
from headrace.cli.dlqshow import redriven, show
from headrace.cli.output import data, printable, say

if TYPE_CHECKING:
    from headrace.deadletters import ReadLetter
    from headrace.deadletters.journal import Journal

app = typer.Typer(
    help="Dead letters: bytes that could not become a reading, and why. They are kept whole, with their source. "
    "When the contract or the configuration is corrected, they can be redriven: sent again."
)


@dataclass
class Group:
    """Letters with the same stream, reason, field and stage."""

    stream: str
    reason: str
    field: str
    stage: str
    count: int
    first_ms: int
    last_ms: int
    key: str  # of the latest
    detail: str  # of the latest
    source: dict[str, Any]


@app.command("list")
def list_(
    stream: Annotated[str, typer.Option(help="Only those of this stream.", show_default=False)] = "",
    reason: Annotated[str, typer.Option(help="Only those with this reason.", show_default=False)] = "",
    every: Annotated[bool, typer.Option("--all", help="Also group those that were redriven.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output: every letter with its state.")] = False,
) -> None:
    """Dead letters by stream, reason and field: how many, and the latest as an example.

    A letter is open, begun (its redrive was interrupted), redriven, or refused again: then a newer letter says why.
    Those that were redriven or refused again are only counted.
    """
    from headrace import kafka
    from headrace.deadletters import journal

    cfg = context.config()
    kafka.probe(cfg.kafka)
    known = journal.load(cfg)
    letters = [
        it
        for it in known.letters.values()
        if (not stream or it.text("stream") == stream) and (not reason or it.text("reason") == reason)
    ]
    shown = letters if every else [it for it in letters if known.is_open(it.key)]
    groups = sorted(group(shown), key=lambda g: (g.stream, -g.count))
    states = {s.value: sum(known.state(it.key) is s for it in letters) for s in journal.State}
    if json:
        import orjson

        every_one = [{**_one(it), **redriven(known, it)} for it in letters]
        out = {"count": len(letters), "states": states, "groups": [_as_json(g) for g in groups], "letters": every_one}
        data(orjson.dumps(out).decode())
        return
    for g in groups:
        what = printable(f"{g.reason} {g.field}".strip())
        data(f"{printable(g.stream) or '(no stream)'}  {g.count:,} x {what}  ({g.stage}; latest {_time(g.last_ms)})")
        data(f"    e.g. {g.key}  {printable(g.detail)}")
    say(_summary(letters, known, states))


def _summary(letters: "list[ReadLetter]", known: "Journal", states: dict[str, int]) -> str:
    """How many letters are open, and what became of the others."""
    waiting = sum(known.is_open(it.key) for it in letters)
    others = [f"{n:,} {state}" for state, n in states.items() if n and state not in {"open", "begun"}]
    if states["begun"]:
        others.append(f"{states['begun']:,} begun and not finished: run `headrace dlq redrive` once more")
    noun = "dead letter" if waiting == 1 else "dead letters"
    text = f"{waiting:,} {noun}; `headrace dlq show KEY` shows one whole" if waiting else "no dead letters"
    return text + (f" ({'; '.join(others)})" if others else "")


def group(letters: "Iterable[ReadLetter]") -> list[Group]:
    """The letters grouped by stream, reason, field and stage."""
    out: dict[tuple[str, ...], Group] = {}
    for it in letters:
        names = (it.text("stream"), it.text("reason"), it.text("field"), it.text("stage"))
        g = out.get(names)
        if g is None:
            g = out[names] = Group(*names, 0, it.time_ms, it.time_ms, "", "", {})
        g.count += 1
        g.first_ms = min(g.first_ms, it.time_ms)
        if it.time_ms >= g.last_ms:
            g.last_ms, g.key, g.detail, g.source = it.time_ms, it.key.hex(), it.text("detail"), it.source
    return list(out.values())


def _one(it: "ReadLetter") -> dict[str, Any]:
    names = ("stream", "reason", "stage", "field", "value", "detail")
    topic = it.text("mqtt-topic") or it.source.get("mqtt_topic")
    origin = {"mqtt_topic": topic, "source": it.source, "time": _time(it.time_ms)}
    return {"key": it.key.hex(), **{n: it.text(n) for n in names}, **origin}


def _as_json(g: Group) -> dict[str, Any]:
    example = {"key": g.key, "detail": g.detail, "source": g.source}
    names = {"stream": g.stream, "reason": g.reason, "field": g.field, "stage": g.stage, "count": g.count}
    return {**names, "first": _time(g.first_ms), "last": _time(g.last_ms), "example": example}


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


app.command("show")(show)
app.command("redrive")(redrive)
