"""`headrace audit`: who did what with devices and tokens."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, printable, say

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.hub.client import Hub
    from headrace.protocol.auditlog import Entry

app = typer.Typer(help="Who did what with devices and tokens: hub's audit log.")
_PAGE = 5000


@app.command("list")
def list_(
    number: Annotated[int, typer.Option("-n", "--lines", min=1, help="Show this many of the latest.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """The latest rows, oldest first."""
    import orjson

    from headrace.hub.client import Hub

    hub = Hub(context.config().hub)
    for row in _rows(hub, max(0, _last(hub) - number)):
        when = datetime.fromtimestamp(row["time"] / 1e6, UTC).isoformat(sep=" ", timespec="seconds")[:19]
        words = f"{row['number']:>6}  {when}  {row['actor']}  {row['act']}  {row['target']}  {row['detail']}"
        data(orjson.dumps(row).decode() if json else printable(words))


@app.command()
def verify(
    lake: Annotated[
        bool, typer.Option("--lake", help="Also compare with the copy in the lake, the stream device_audit.")
    ] = False,
) -> None:
    """Check that no row was changed, removed or inserted. Exit code 1 when one was.

    Each row's hash covers the row and the hash of the row before it. Who can write into hub's database could make the
    hashes of all later rows anew: --lake finds that too, since the copies in the lake were written as it happened.
    """
    from headrace.hub.client import Hub
    from headrace.protocol.auditlog import Entry, faults

    cfg = context.config()
    hub = Hub(cfg.hub)
    before = _last(hub)
    rows = [Entry(**row) for row in _rows(hub, 0)]
    wrong = list(faults(rows, before, _last(hub)))
    if lake:
        wrong += _against_lake(cfg, rows)
    for line in wrong:
        data(printable(line))
    if wrong:
        raise typer.Exit(1)
    say(f"{len(rows):,} rows: each follows from the one before" + (", and is in the lake as it was" if lake else ""))


def _last(hub: "Hub") -> int:
    """The number of the row that was written last."""
    return int(hub.get("/api/audit", {"limit": 1})["last"])


def _rows(hub: "Hub", after: int) -> Iterator[dict[str, Any]]:
    while True:
        rows = hub.get("/api/audit", {"after": str(after), "limit": _PAGE})["rows"]
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1]["number"]


def _against_lake(cfg: "Config", rows: "list[Entry]") -> list[str]:
    """Rows that are not in the database as they are in the lake."""
    from headrace.lake.sql import connect, explained, run
    from headrace.protocol.names import DEVICE_AUDIT

    mine = {row.number: row.hash for row in rows}
    sql = f'SELECT entry, "hash" FROM {DEVICE_AUDIT} ORDER BY entry'  # noqa: S608 - a name of ours
    with connect(cfg, sql) as db, explained(cfg):
        found = run(db, sql).fetchall()
    out = []
    for number, hashed in found:
        if number not in mine:
            out.append(f"row {number} is in the lake alone: it was removed")
        elif mine[number] != hashed:
            out.append(f"row {number} is another one in the lake: it was changed, and the hashes made anew")
    return out
