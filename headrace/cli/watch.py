"""`headrace watch`."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import context
from headrace.cli.output import printable, say
from headrace.cli.upload import Patience, Profiles, load
from headrace.errors import ConfigError, FatalError, TransientError

if TYPE_CHECKING:
    from headrace.uploads.profile import Profile
    from headrace.uploads.watching import Memory, Seen

_AGAIN_SECONDS = 30.0  # after a server was away


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, with all below it.")],
    profile: Profiles,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Look at the folder so often.")] = 10,
    quiet: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="A file is complete when it has not changed for so long.")
    ] = 10,
    move_to: Annotated[
        Path | None, typer.Option(help="Move files there once all their rows are counted.", show_default=False)
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete files once all their rows are counted.")] = False,
    patience: Patience = 180,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there has been dealt with.")] = False,
) -> None:
    """Upload each file that appears in a folder, once it is complete. Ends with Ctrl-C or SIGTERM.

    Files that a program is writing are left alone: hidden ones, .tmp, .part and the like, and what still changes. What
    was done is remembered, and known by content too. A file stays where it is, unless --move-to or --delete is given:
    then it goes once each of its rows is counted in the lake. A file that no profile is for, or that can't be read, is
    said, and looked at again when it changes.
    """
    from headrace.uploads import plan
    from headrace.uploads import profile as kept
    from headrace.uploads.watching import Memory, Quiet

    if move_to is not None and delete:
        raise ConfigError("--move-to and --delete: give one of them")
    if move_to is not None and move_to.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"--move-to {move_to} lies in {folder}: its files would be uploaded again. Choose another")
    cfg = context.config()
    profiles = [kept.load(path) for path in profile]
    for it in profiles:
        plan.stream_of_files(cfg, it)
    name = str(folder.resolve()).strip("/").replace("/", "-") or "root"
    with Memory(context.state() / "watch" / f"{name}.sqlite") as memory:
        looked = Quiet(folder, memory, quiet)
        say(f"watching {folder}")
        while True:
            found = list(looked.look(time.monotonic()))
            for seen in found:
                _deal(seen, profiles, memory, patience, move_to, delete=delete)
            if once and not found:
                return
            time.sleep(every if not once else min(every, max(quiet, 0.1)))


def _deal(
    seen: "Seen", profiles: "list[Profile]", memory: "Memory", patience: float, move_to: Path | None, *, delete: bool
) -> None:
    from headrace.uploads import plan
    from headrace.uploads.watching import Fate, mark_of

    path = seen.path
    try:
        found, _ = plan.candidates([path])
        if all(plan.chosen(profiles, it.name) is None for it in found):
            memory.note(seen, Fate.NO_PROFILE)
            say(f"{printable(path.name)}: no profile is for files of this name")
            return
        outcomes, _ = load(context.config(), found, profiles, yes=True, dry_run=False, patience=patience, quiet=True)
    except ConfigError as e:
        memory.note(seen, Fate.REFUSED, str(e))
        say(f"{printable(path.name)}: {printable(str(e))}. It is looked at again when it changes")
        return
    except (TransientError, FatalError) as e:
        say(f"{e}. Tried again in {_AGAIN_SECONDS:.0f} s")
        time.sleep(_AGAIN_SECONDS)
        return
    if not all(it.good for it in outcomes):
        say(f"{printable(path.name)}: not each row is accounted for yet; it is tried again")
        return
    say(f"{printable(path.name)}: {sum(it.stored for it in outcomes):,} rows stored, each once")
    if mark_of(path) != seen.mark:
        return  # it has changed meanwhile: another file
    memory.note(seen, Fate.LOADED)
    if move_to is not None:
        move_to.mkdir(parents=True, exist_ok=True)
        shutil.move(path, _free(move_to / path.name))
    elif delete:
        path.unlink()
    if move_to is not None or delete:
        memory.forget(seen)


def _free(path: Path) -> Path:
    """A path at which nothing lies: with a number where it does."""
    number, it = 1, path
    while it.exists():
        number += 1
        it = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return it
