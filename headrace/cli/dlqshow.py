"""`headrace dlq show`: one dead letter whole."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context, dlqfilter
from headrace.cli.output import data, printable, say
from headrace.errors import PoisonError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.config import Config
    from headrace.deadletters import ReadLetter
    from headrace.deadletters.journal import Journal

_SHOWN_BYTES = 4096
_LINE_BYTES = 16
_BINARY = ("event-id", "position", "provenance")
_FIRST = ("detail", "device", "field", "reason", "rule", "stage", "stream", "value")


def show(
    key: Annotated[
        str,
        typer.Argument(
            metavar="[KEY]",
            help="The letter's key, or its beginning: `dlq list` shows it. The latest open one when left out.",
            show_default=False,
        ),
    ] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Write the letter's bytes alone, as they came.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """One dead letter whole: why it is one, what to do, where it came from, its bytes, its redrives."""
    from headrace import deadletters, kafka
    from headrace.deadletters import journal
    from headrace.deadletters.remedies import remedy
    from headrace.store.open import open_store

    cfg = context.config()
    dlqfilter.check_prefixes([key] if key else [])
    kafka.probe(cfg.kafka)
    known = journal.load(cfg)
    open_ = [it for it in known.letters.values() if known.is_open(it.key)]
    if not key and not open_:
        say("no open dead letter")
        return
    (wanted,) = dlqfilter.chosen(known.letters, [key]) if key else [max(open_, key=lambda it: it.time_ms).key]
    letter = next(it for it in deadletters.read(cfg) if it.key == wanted)
    value = deadletters.content(letter, lambda key: open_store(cfg.store).get(key))
    if raw:
        sys.stdout.buffer.write(value)
        return
    reading, problem = (None, "") if letter.text("stage") == deadletters.Stage.BRIDGE else _decoded(cfg, value)
    if json:
        import orjson

        text = {"text": value.decode()} if is_text(value) else {"hex": value.hex()}
        found = remedy(letter.text("reason"))
        out = {
            "key": letter.key.hex(),
            **_headers(letter),
            **(found._asdict() if found else {}),
            "source": letter.source,
            **dlqfilter.settled(known, letter),
            **text,
        }
        if reading is not None:
            out["reading"] = reading
        data(orjson.dumps(out, option=orjson.OPT_UTC_Z, default=_plain).decode())
        return
    for line in _lines(known, letter, value):
        data(line)
    if reading is not None:
        for name, v in reading.items():
            if v is not None:
                data(f"  {name}: {printable(str(v))}")
    elif problem:
        data(f"  {printable(problem)}")


def is_text(value: bytes) -> bool:
    """Whether bytes may be shown as text."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n" for c in text)


def excerpt(value: bytes) -> str:
    """The bytes as text; when they are no text, in hexadecimal with the printable characters. Cut when long."""
    shown = value[:_SHOWN_BYTES]
    if is_text(value):
        out = "\n".join(printable(line) for line in shown.decode(errors="replace").split("\n"))
    else:
        lines = []
        for at in range(0, len(shown), _LINE_BYTES):
            part = shown[at : at + _LINE_BYTES]
            text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
            lines.append(f"{at:08x}  {part.hex(' ', 4):<35}  {text}")
        out = "\n".join(lines)
    return out + (f"\n... {len(value) - _SHOWN_BYTES:,} bytes more: --raw" if len(value) > _SHOWN_BYTES else "")


def _lines(known: "Journal", letter: "ReadLetter", value: bytes) -> "Iterable[str]":
    from headrace.deadletters.remedies import remedy

    yield f"key: {letter.key.hex()}"
    state = dlqfilter.settled(known, letter)
    yield f"state: {state['state']}"
    for at in state["sent_to"]:
        yield f"redrive {state['redrives']}: {at['topic']}/{at['partition']} at {at['offset']}"
    for key in state["became"]:
        yield f"became: {key}"
    if drop := state.get("dropped"):
        yield f"dropped: by {printable(drop['by'])} at {drop['at']} ({printable(drop['filter'])})"
    for name, text in _headers(letter).items():
        yield f"{name}: {printable(text)}"
    if (found := remedy(letter.text("reason"))) is not None:
        yield f"meaning: {found.meaning}."
        yield f"what to do: {found.action}."
    yield f"source: {printable(', '.join(f'{k} {v}' for k, v in letter.source.items()))}"
    yield f"{len(value):,} bytes:"
    yield excerpt(value)


def _headers(letter: "ReadLetter") -> dict[str, str]:
    """Why and where from first, then the original's headers; empty ones left out."""
    names = sorted((n for n in letter.headers if n != "source"), key=lambda n: (n not in _FIRST, n))
    found = {n: letter.headers[n].hex() if n in _BINARY else letter.text(n) for n in names}
    return {n: text for n, text in found.items() if text}


def _decoded(cfg: "Config", value: bytes) -> tuple[dict[str, Any] | None, str]:
    """The reading in Avro bytes, or why it can't be shown."""
    from headrace.operate.live import decode
    from headrace.schema_registry.client import Registry

    try:
        with Registry(cfg.registry) as registry:
            return decode(value, registry.schema_text, {}), ""
    except PoisonError as e:
        return None, str(e)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
