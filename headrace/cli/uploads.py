"""`headrace uploads`: what was uploaded, and what counts of it."""

import shutil
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, printable, say, show, waiting
from headrace.cli.upload import Patience, load, report
from headrace.errors import ConfigError, FatalError
from headrace.protocol.names import FILES

if TYPE_CHECKING:
    from headrace.store.base import ObjectStore
    from headrace.uploads.desk import Desk
    from headrace.uploads.order import Order

app = typer.Typer(help="List what was uploaded; show, retire or replace it: docs/uploads.md.")
Id = Annotated[str, typer.Argument(metavar="UPLOAD", help="Its id, or how it begins: `uploads list` shows it.")]
_LEAST = 4  # digits of an id


@app.callback()
def uploads() -> None:
    """List what was uploaded; show, retire or replace it: docs/uploads.md."""


@app.command("list")
def list_all(
    stream: Annotated[str, typer.Option(help="Only uploads to this stream, such as imu.", show_default=False)] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all uploads, oldest first."""
    import orjson

    desk, _ = _desk()
    with waiting() as notify:
        notify("reading what was ordered")
        orders = desk.orders(desk.known())
        states = _States(desk)
    wanted = {stream, stream + FILES}
    chosen = [it for it in orders if not stream or it.stream in wanted]
    if json:
        data(orjson.dumps([{**it._asdict(), "state": states.of(it.upload)} for it in chosen]).decode())
        return
    _table(chosen, states)


@app.command("show")
def show_one(
    upload: Id,
    save: Annotated[
        Path | None, typer.Option(help="Write the file itself, as it was uploaded, to this path.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show an upload, and count its rows in the lake. Exit code 1 where a row is not accounted for."""
    import orjson

    from headrace.uploads import follow
    from headrace.uploads.evidence import Evidence

    desk, store = _desk()
    order = _order(desk, upload)
    if save is not None:
        manifest = Evidence(store).find(order.recording)
        if manifest is None:
            raise FatalError(f"the store has no recording {order.recording}")
        Evidence(store).fetch(manifest, save)
        say(f"{save}: {manifest.raw_size:,} bytes")
    state = _States(desk).of(order.upload)
    with waiting() as notify:
        notify("counting its rows in the lake")
        (outcome,) = follow.count(context.config(), desk, [order])
    if json:
        data(orjson.dumps({**outcome.to_json(), "state": state}, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, value in {**order._asdict(), "event_time": _time(order), "state": state}.items():
            data(f"{name:<10} {printable(str(value))}")
        numbers = {
            "stored": outcome.stored,
            "dead letters": outcome.refused + outcome.letters,
            "left out": order.left_out,
            "missing": outcome.missing,
            "twice": outcome.copies,
        }
        data(f"{'rows':<10} " + ", ".join(f"{n:,} {words}" for words, n in numbers.items()))
    if state != "retired" and not outcome.good:
        raise typer.Exit(1)


@app.command()
def retire(
    upload: Id,
    reason: Annotated[str, typer.Option(help="Why, for those who come later.", show_default=False)] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Let them count again.")] = False,
) -> None:
    """Let the rows of an upload count no more: queries leave them out. Nothing is deleted."""
    if undo == bool(reason):
        raise ConfigError("give --reason WHY to retire an upload, or --undo to let it count again")
    desk, _ = _desk()
    order = _order(desk, upload)
    if undo:
        desk.restore(order.upload)
        say(f"{order.upload} ({printable(order.file)}) counts again, with its {order.readings:,} readings")
    elif desk.retire(order.upload, reason):
        say(f"{order.upload} ({printable(order.file)}) is retired: queries leave out its {order.readings:,} readings")
    else:
        say(f"{order.upload} is retired already")


@app.command()
def replace(
    upload: Id,
    profile: Annotated[Path, typer.Option(help="How the file becomes readings from now on (YAML).")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    patience: Patience = 180,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Upload a file again with another profile, and retire the upload once the new one is whole.

    The file is the one that the store keeps.
    """
    from headrace.readers.source import Source
    from headrace.uploads import profile as kept
    from headrace.uploads.evidence import Evidence
    from headrace.uploads.plan import Candidate

    desk, store = _desk()
    order = _order(desk, upload)
    manifest = Evidence(store).find(order.recording)
    if manifest is None:
        raise FatalError(f"the store has no recording {order.recording}: upload the file itself again")
    folder = Path(tempfile.mkdtemp(prefix="headrace-replace-"))
    try:
        path = folder / Path(manifest.name).name
        Evidence(store).fetch(manifest, path)
        found = Candidate(order.file, manifest.raw_size, partial(Source, Path(order.file), path))
        new = kept.load(profile).model_copy(update={"match": "*"})
        outcomes, known = load(context.config(), [found], [new], yes=yes, dry_run=False, patience=patience, quiet=json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(outcomes, known, json=json)
    if not all(it.good for it in outcomes):
        say(f"the new upload is not whole, so {order.upload} still counts as well. Run the command again")
        raise typer.Exit(1)
    made = [upload for it in known for upload in it.uploads] + [it.order.upload for it in outcomes]
    old = [it.upload for it in desk.orders(desk.known()) if _alike(it, order) and it.upload not in made]
    if not old:
        say("the file is uploaded with this profile already, and nothing else counts of it")
    for one in old:
        desk.retire(one, f"replaced by {', '.join(made)}")
        say(f"{one} is retired: {', '.join(made)} takes its place")
    for one in made:
        desk.restore(one)  # it may have been replaced itself


class _States:
    """How far uploads are."""

    def __init__(self, desk: "Desk") -> None:
        names = desk.receipt_names()
        self._retired = desk.retired()
        self._loaded = {it.upload for it in names if not it.failed}
        self._failed = {it.upload for it in names} - self._loaded

    def of(self, upload: str) -> str:
        for words, those in (("retired", self._retired), ("loaded", self._loaded), ("failed", self._failed)):
            if upload in those:
                return words
        return "waiting"


def _desk() -> "tuple[Desk, ObjectStore]":
    from headrace.store.open import open_store
    from headrace.uploads.desk import Desk

    store = open_store(context.config().store)
    return Desk(store), store


def _order(desk: "Desk", begins: str) -> "Order":
    """The one upload whose id begins so."""
    found = sorted(it for it in desk.known() if it.startswith(begins.lower()))
    if len(begins) < _LEAST or not found:
        raise ConfigError(f"no upload has an id that begins with {begins!r}. `headrace uploads list` shows them all")
    if len(found) > 1:
        raise ConfigError(f"{len(found)} uploads begin with {begins}: {', '.join(found[:5])}. Give more of the id")
    return desk.order(found[0])


def _alike(one: "Order", other: "Order") -> bool:
    """Whether they are tables of one file, read in one way."""
    return (one.recording, one.stream, one.profile) == (other.recording, other.stream, other.profile)


def _table(orders: "list[Order]", states: _States) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if not orders:
        say("nothing was uploaded yet")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("upload", "when (UTC)", "file", "stream", "state"):
        table.add_column(name)
    for name in ("readings", "refused", "left out"):
        table.add_column(name, justify="right")
    table.add_column("by")
    for it in orders:
        counts = [f"{n:,}" for n in (it.readings, it.refused, it.left_out)]
        cells: list[Any] = [
            it.upload,
            _time(it),
            printable(it.file),
            it.stream,
            states.of(it.upload),
            *counts,
            printable(it.actor),
        ]
        table.add_row(*map(Text, cells))
    show(table)


def _time(order: "Order") -> str:
    from headrace.readers.celltimes import EPOCH

    when = EPOCH + timedelta(microseconds=order.event_time)
    return when.replace(tzinfo=None, microsecond=0).isoformat(" ")
