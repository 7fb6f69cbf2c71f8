"""`headrace dlq`: dead letters."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, say
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.deadletters import ReadLetter

_SHOWN_BYTES = 4096
app = typer.Typer(
    help="Dead letters: what could not become a reading, and why. The bytes are kept whole, with where they came from."
)

Stream = Annotated[str, typer.Option(help="Only those of this stream.", show_default=False)]
ReasonName = Annotated[str, typer.Option(help="Only those with this reason.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


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
def list_(stream: Stream = "", reason: ReasonName = "", json: Json = False) -> None:
    """Dead letters by stream, reason and field, with how many and the latest as an example."""
    letters = list(_letters(context.config(), stream, reason))
    groups = sorted(group(letters), key=lambda g: (g.stream, -g.count))
    if json:
        import orjson

        out = {"count": len(letters), "groups": [_as_json(g) for g in groups], "letters": [_one(it) for it in letters]}
        data(orjson.dumps(out).decode())
        return
    if not groups:
        say("no dead letters")
        return
    for g in groups:
        what = f"{g.reason} {g.field}".strip()
        data(f"{g.stream or '(no stream)'}  {g.count:,} x {what}  ({g.stage}; latest {_time(g.last_ms)})")
        data(f"    e.g. {g.key}  {g.detail}")
    say(f"{len(letters):,} dead letters; `headrace dlq show KEY` shows one whole")


@app.command()
def show(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The letter's key, or its beginning, as `dlq list` has it.")
    ],
    raw: Annotated[bool, typer.Option("--raw", help="Write the letter's bytes alone, as they came.")] = False,
    json: Json = False,
) -> None:
    """One dead letter whole: why, where from, and its bytes."""
    cfg = context.config()
    wanted = key.lower().strip()
    if not wanted or set(wanted) - set("0123456789abcdef"):
        raise ConfigError(f"{key}: a key is written in hexadecimal, as `headrace dlq list` has it")
    found = [it for it in _letters(cfg) if it.key.hex().startswith(wanted)]
    if len(found) != 1:
        raise ConfigError(f"{len(found) or 'no'} letters have a key that begins with {key}")
    letter = found[0]
    value = _value(cfg, letter)
    if raw:
        import sys

        sys.stdout.buffer.write(value)
        return
    headers = {name: letter.text(name) for name in letter.headers if name not in ("source", "event-id")}
    if "event-id" in letter.headers:
        headers["event-id"] = letter.headers["event-id"].hex()
    if json:
        import orjson

        text = {"value": value.decode()} if _is_text(value) else {"value_hex": value.hex()}
        data(orjson.dumps({"key": letter.key.hex(), **headers, "source": letter.source, **text}).decode())
        return
    data(f"key: {letter.key.hex()}")
    for name, content in headers.items():
        data(f"{name}: {content}")
    data(f"source: {', '.join(f'{k} {v}' for k, v in letter.source.items())}")
    data(f"value: {len(value):,} bytes")
    data(_excerpt(value))


def group(letters: "Iterable[ReadLetter]") -> list[Group]:
    """The letters put together by stream, reason, field and stage."""
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


def _letters(cfg: "Config", stream: str = "", reason: str = "") -> "Iterator[ReadLetter]":
    from headrace import deadletters, kafka

    kafka.probe(cfg.kafka)
    for it in deadletters.read(cfg):
        if (not stream or it.text("stream") == stream) and (not reason or it.text("reason") == reason):
            yield it


def _value(cfg: "Config", letter: "ReadLetter") -> bytes:
    """The letter's bytes: its own, or those in the store that it points to."""
    pointer = letter.text("pointer")
    if not pointer:
        return letter.value
    from headrace.store.open import open_store

    return open_store(cfg.store).get(pointer)


def _one(it: "ReadLetter") -> dict[str, Any]:
    names = ("stream", "reason", "stage", "field", "value", "detail")
    topic = it.text("mqtt-topic") or it.source.get("mqtt_topic")
    place = {"mqtt_topic": topic, "source": it.source, "time": _time(it.time_ms)}
    return {"key": it.key.hex(), **{n: it.text(n) for n in names}, **place}


def _as_json(g: Group) -> dict[str, Any]:
    example = {"key": g.key, "detail": g.detail, "source": g.source}
    names = {"stream": g.stream, "reason": g.reason, "field": g.field, "stage": g.stage, "count": g.count}
    return {**names, "first": _time(g.first_ms), "last": _time(g.last_ms), "example": example}


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _is_text(value: bytes) -> bool:
    try:
        return value.decode().isprintable() or value.decode().strip().isascii()
    except UnicodeDecodeError:
        return False


def _excerpt(value: bytes) -> str:
    """The bytes as text where they are text, else in hexadecimal; control characters escaped, long ones cut."""
    shown = value[:_SHOWN_BYTES]
    if _is_text(value):
        text = shown.decode(errors="replace")
        out = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    else:
        out = shown.hex(" ", 4)
    return out + (f"\n... {len(value) - _SHOWN_BYTES:,} bytes more: --raw" if len(value) > _SHOWN_BYTES else "")
