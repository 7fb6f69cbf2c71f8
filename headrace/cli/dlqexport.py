"""`headrace dlq export`: dead letters in files, to look at or to mend by hand."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from headrace.cli import context, dlqfilter
from headrace.cli.output import say
from headrace.errors import ConfigError, FatalError, PoisonError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.config import Config


def export(  # noqa: PLR0913, PLR0917 - each is an option of the command
    keys: dlqfilter.Keys = None,
    stream: dlqfilter.Stream = "",
    reason: dlqfilter.Reason_ = "",
    stage: dlqfilter.Stage_ = "",
    device: dlqfilter.Device = "",
    since: dlqfilter.Since = "",
    until: dlqfilter.Until = "",
    every: Annotated[bool, typer.Option("--all", help="Also those that were redriven or dropped.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write to this file instead of standard output.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Write the bytes of each letter to a file of its own in this folder.", show_default=False),
    ] = None,
) -> None:
    """Write dead letters as lines of JSON, to look at or to mend: reason, source, headers, and the bytes.

    The bytes are the payload, as text or in base64; of what cleaning refused, the reading. With --folder they go to
    KEY.payload or KEY.reading, and the rest to letters.jsonl. Mend them there, then send them with `headrace dlq
    redrive --from`. The letters stay as they are.
    """
    from headrace import deadletters
    from headrace.deadletters import mending
    from headrace.store.open import open_store

    cfg = context.config()
    if out is not None and folder is not None:
        raise ConfigError("--out and --folder: give one of them")
    wanted = dlqfilter.filter_of(stream, reason, stage, device, since, until)
    known, wanted = dlqfilter.load(cfg, wanted, keys or ())
    count = 0
    with ExitStack() as stack:
        file = _target(stack, out, folder, mending.INDEX)
        reading_of = _reader(stack, cfg)
        for it in deadletters.read(cfg):
            if it.key not in known.letters or not wanted.takes(it) or not (every or known.is_open(it.key)):
                continue
            about = mending.about(it, known.state(it.key))
            try:
                value = deadletters.content(it, lambda key: open_store(cfg.store).get(key))
            except FatalError as e:  # the object is gone: no reason to keep the others back
                file.write(mending.to_json(about | {"problem": str(e)}))
                continue
            reading = None if it.text("stage") == deadletters.Stage.BRIDGE else reading_of(value)
            if folder is None:
                file.write(mending.to_json(about | mending.body(value, reading)))
            else:
                mending.write_files(folder, it, value, reading)
                file.write(mending.to_json(about))
            count += 1
    where = f" to {folder or out}" if folder or out else ""
    say(f"{count:,} dead letters written{where}. Mended ones: `headrace dlq redrive --from {folder or out or 'FILE'}`")


def _target(stack: ExitStack, out: Path | None, folder: Path | None, index: str) -> BinaryIO:
    """Where the lines go. ConfigError for a folder that holds something: files mended there would be written over."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"--folder {folder}: it is not empty. Name another one")
        return stack.enter_context((folder / index).open("wb"))
    return sys.stdout.buffer if out is None else stack.enter_context(out.open("wb"))


def _reader(stack: ExitStack, cfg: "Config") -> "Callable[[bytes], dict[str, Any] | None]":
    """A function that gives the reading in Avro bytes; None where there is none."""
    from headrace.operate.live import decode
    from headrace.schema_registry.client import Registry

    registry = stack.enter_context(Registry(cfg.registry))
    schemas: dict[int, Any] = {}

    def read(value: bytes) -> dict[str, Any] | None:
        try:
            return decode(value, registry.schema_text, schemas)
        except PoisonError:
            return None

    return read
