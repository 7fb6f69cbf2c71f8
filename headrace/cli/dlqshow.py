"""`headrace dlq show`: one dead letter whole."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, printable
from headrace.errors import ConfigError, PoisonError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.config import Config
    from headrace.deadletters import ReadLetter
    from headrace.deadletters.journal import Journal

_SHOWN_BYTES = 4096
_LINE_BYTES = 16
_BINARY = ("event-id", "position")
_FIRST = ("detail", "field", "reason", "rule", "stage", "stream", "value")


def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The letter's key, or its beginning: `dlq list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the letter's bytes alone, as they came.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """One dead letter whole: why it is one, where it came from, its bytes, its redrives."""
    from headrace import deadletters, kafka
    from headrace.deadletters import journal
    from headrace.store.open import open_store

    cfg = context.config()
    check_prefixes([key])
    kafka.probe(cfg.kafka)
    known = journal.load(cfg)
    (wanted,) = chosen(known.letters, [key])
    letter = next(it for it in deadletters.read(cfg) if it.key == wanted)
    value = deadletters.content(letter, lambda key: open_store(cfg.store).get(key))
    if raw:
        sys.stdout.buffer.write(value)
        return
    reading, problem = (None, "") if letter.text("stage") == deadletters.Stage.BRIDGE else _decoded(cfg, value)
    if json:
        import orjson

        text = {"text": value.decode()} if is_text(value) else {"hex": value.hex()}
        out = {
            "key": letter.key.hex(),
            **_headers(letter),
            "source": letter.source,
            **redriven(known, letter),
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


def check_prefixes(keys: "Iterable[str]") -> None:
    """ConfigError for a text that can't be the beginning of a key."""
    for key in keys:
        if not key.strip() or set(key.lower().strip()) - set("0123456789abcdef"):
            raise ConfigError(f"{key}: a key is written in hexadecimal, as `headrace dlq list` shows it")


def chosen(letters: "Iterable[bytes]", prefixes: "Iterable[str]") -> list[bytes]:
    """The one key that begins with each prefix. ConfigError when no key does, or several."""
    keys = list(letters)
    out = []
    for prefix in prefixes:
        found = [k for k in keys if k.hex().startswith(prefix.lower().strip())]
        if len(found) != 1:
            raise ConfigError(f"{len(found) or 'no'} letters have a key that begins with {prefix}: give more of it")
        out.append(found[0])
    return out


def redriven(known: "Journal", letter: "ReadLetter") -> dict[str, Any]:
    """A letter's state and latest redrive, for JSON."""
    note = known.notes.get(letter.key)
    return {
        "state": known.state(letter.key),
        "redrives": note.number if note else 0,
        "sent_to": [{"topic": t, "partition": p, "offset": o} for t, p, o in note.to] if note else [],
        "became": [it.key.hex() for it in known.became(letter.key)],
    }


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
    yield f"key: {letter.key.hex()}"
    state = redriven(known, letter)
    yield f"state: {state['state']}"
    for at in state["sent_to"]:
        yield f"redrive {state['redrives']}: {at['topic']}/{at['partition']} at {at['offset']}"
    for key in state["became"]:
        yield f"became: {key}"
    for name, text in _headers(letter).items():
        yield f"{name}: {printable(text)}"
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
