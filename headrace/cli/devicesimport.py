"""`headrace devices import`: a fleet from a CSV file."""

import csv
import io
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import progress, say
from headrace.errors import ConfigError, HeadraceError

_AT_ONCE = 10_000
_MAX_BYTES = 64 * 1024 * 1024
_TEXTS = ("serial", "model", "firmware", "owner")
_LISTS = ("tags", "groups")


class Credential(StrEnum):
    """What a device gets when it is added."""

    PASSWORD = "password"  # noqa: S105 - the word itself
    TOKEN = "token"  # noqa: S105
    NONE = "none"


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help="First line: names of the columns. id is needed; kind (device, gateway), serial, model, firmware, "
            "owner, tags and groups (several separated by spaces) are known; any other is an attribute.",
            show_default=False,
        ),
    ],
    credential: Annotated[
        Credential, typer.Option(help="What each gets; a token is for asking for a certificate, once, in 30 days.")
    ] = Credential.PASSWORD,
    pending: Annotated[bool, typer.Option("--pending", help="They don't get in before they are approved.")] = False,
    passwords: Annotated[
        Path | None,
        typer.Option(
            help="New file for passwords or tokens, which only you can read. [FILE.passwords.csv, FILE.tokens.csv]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add many devices from a CSV file: all of them, or none when a line is wrong.

    The passwords, or tokens, go to a new file, a line a device; hub keeps only their hashes.
    """
    from headrace.hub.client import Hub, RefusedError

    kind = credential.value
    target = passwords or file.with_suffix(f".{kind}s.csv")
    given = {"credential": kind, "state": "pending" if pending else "active"}
    fleet = [(line, {**one, **given}) for line, one in read(file)]
    hub = Hub(context.config().hub)
    if len(fleet) > _AT_ONCE:
        raise ConfigError(f"{file}: {len(fleet):,} devices. Split it: at most {_AT_ONCE:,} are added at once")
    # Made before anything is added: without a place for the passwords they would be lost.
    with _new(target) as out, progress("devices") as bar:
        task = bar.add_task("importing", total=len(fleet), count=0)
        try:
            done = hub.post("/api/devices/import", {"devices": [one for _, one in fleet]}, timeout=120.0)
        except RefusedError as e:
            target.unlink()
            raise HeadraceError(explain(file, e, [line for line, _ in fleet])) from None
        except HeadraceError:
            target.unlink()
            raise
        csv.writer(out, lineterminator="\n").writerows([("id", kind), *done.get(f"{kind}s", {}).items()])
        bar.update(task, completed=len(fleet), count=len(fleet))
    if credential is Credential.NONE:
        target.unlink()
        say(f"{len(fleet):,} devices added")
    else:
        say(f"{len(fleet):,} devices added; their {kind}s are in {target}")


def read(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """The devices of a CSV file, each with the number of its line. ConfigError when it can't be read."""
    from headrace import textfile

    text = textfile.read(file, "a list of devices", _MAX_BYTES, "Give a CSV file with a column id")
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        names = [name.strip() for name in next(rows, [])]
        if "id" not in names or len(set(names)) != len(names):
            raise ConfigError(f"{file}, line 1: name each column once, one of them id. There are: {', '.join(names)}")
        out = []
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                raise ConfigError(f"{file}, line {rows.line_num}: {len(row)} values for {len(names)} columns")
            out.append((rows.line_num, _device(dict(zip(names, (c.strip() for c in row), strict=True)))))
    except csv.Error as e:
        raise ConfigError(f"{file}, line {rows.line_num}: not CSV: {e}") from None
    if not out:
        raise ConfigError(f"{file}: no devices. Put one on each line after the first")
    return out


def explain(file: Path, error: Any, lines: list[int]) -> str:
    """What hub says is wrong, by the lines of the file."""
    faults = error.answer.get("faults", [])
    return "\n".join([str(error), *(f"  {file}, line {lines[f['line'] - 1]}: {f['message']}" for f in faults)])


def _device(cells: dict[str, str]) -> dict[str, Any]:
    given = {k: v for k, v in cells.items() if v}
    out: dict[str, Any] = {"id": cells["id"], **{k: given[k] for k in ("kind", *_TEXTS) if k in given}}
    out.update({k: given[k].split() for k in _LISTS if k in given})
    known = {"id", "kind", *_TEXTS, *_LISTS}
    return {**out, "attributes": {k: v for k, v in given.items() if k not in known}}


def _new(target: Path) -> io.TextIOWrapper:
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"{target} exists, and may hold passwords. Move it, or name another with --passwords"
        ) from None
    except OSError as e:
        raise ConfigError(f"{target}: {e.strerror}. Name another file with --passwords") from None
    return os.fdopen(handle, "w", encoding="utf-8", newline="")
