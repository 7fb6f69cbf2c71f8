"""`headrace dlq list`: dead letters in groups."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context, dlqfilter
from headrace.cli.output import data, say

if TYPE_CHECKING:
    from headrace.deadletters import ReadLetter
    from headrace.deadletters.journal import Journal


def list_(  # noqa: PLR0913, PLR0917 - each is an option of the command
    stream: dlqfilter.Stream = "",
    reason: dlqfilter.Reason_ = "",
    stage: dlqfilter.Stage_ = "",
    device: dlqfilter.Device = "",
    since: dlqfilter.Since = "",
    until: dlqfilter.Until = "",
    by_device: Annotated[bool, typer.Option("--by-device", help="A line for each device.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Also those that were redriven or dropped.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output: every letter with its state.")] = False,
) -> None:
    """Dead letters by stream, reason, field and stage: how many, of which device, since when, and the latest's message.

    A letter is open, begun (its redrive was interrupted), redriven, refused again (a newer letter says why) or dropped.
    Those of the last three states are only counted.
    """
    from headrace.deadletters import journal

    cfg = context.config()
    known, wanted = dlqfilter.load(cfg, dlqfilter.filter_of(stream, reason, stage, device, since, until), ())
    letters = [it for it in known.letters.values() if wanted.takes(it)]
    groups = dlqfilter.group((it for it in letters if every or known.is_open(it.key)), by_device=by_device)
    states = {s.value: sum(known.state(it.key) is s for it in letters) for s in journal.State}
    if json:
        import orjson

        every_one = [{**_one(it), **dlqfilter.settled(known, it)} for it in letters]
        out = {"count": len(letters), "states": states, "groups": [g.to_json() for g in groups], "letters": every_one}
        data(orjson.dumps(out).decode())
        return
    if groups:
        dlqfilter.show_groups(groups)
    say(_summary(letters, known, states))


def _summary(letters: "list[ReadLetter]", known: "Journal", states: dict[str, int]) -> str:
    """How many letters are open, and what became of the others."""
    waiting = sum(known.is_open(it.key) for it in letters)
    others = [f"{n:,} {state}" for state, n in states.items() if n and state not in {"open", "begun"}]
    if states["begun"]:
        others.append(f"{states['begun']:,} begun and not finished: run `headrace dlq redrive` once more")
    noun = "dead letter" if waiting == 1 else "dead letters"
    text = (
        f"{waiting:,} {noun}; `headrace dlq show` shows the latest whole, and what to do" if waiting else f"no {noun}"
    )
    return text + (f" ({'; '.join(others)})" if others else "")


def _one(it: "ReadLetter") -> dict[str, Any]:
    from headrace.deadletters.choosing import time_text

    names = ("stream", "reason", "stage", "device", "field", "rule", "value", "detail")
    topic = it.text("mqtt-topic") or it.source.get("mqtt_topic")
    origin = {"mqtt_topic": topic, "source": it.source, "time": time_text(it.time_ms)}
    return {"key": it.key.hex(), **{n: it.text(n) for n in names}, **origin}
