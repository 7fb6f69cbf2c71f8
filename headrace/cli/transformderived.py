"""`headrace transform test` of a derived stream: the rows that its function makes of readings."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.output import data, printable, say, show
from headrace.cli.transformshow import LINES, short, show_failures
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.config import Config
    from headrace.contracts.model import Contract, Field
    from headrace.transforms.derive import Derived
    from headrace.transforms.table import Columns


def try_derived(
    cfg: "Config", stream: str, given: "Contract", wanted: "Contract", columns: "Columns", file: str, *, json: bool
) -> bool:
    """Try the function, the configured one or that of `file`, and print what it makes. Whether derive may run it.

    `given`: the contract of the readings in `columns`; `wanted`: that of the rows.
    """
    from headrace.transforms import code, derive
    from headrace.transforms.run import Transform
    from headrace.transforms.table import fields_of

    named = (file if ":" in file else Path(file)) if file else cfg.streams[stream].transform
    if named is None or str(named).endswith(".csv"):
        raise ConfigError(f"streams.{stream} is made by a transform. Name a Python file to try")
    transform = Transform(code.read(named))
    fields = fields_of(wanted)
    start = time.process_time()
    found = derive.derive(transform, fields_of(given), fields, columns)
    count = len(columns["device_id"])
    micros = (time.process_time() - start) / count * 1e6
    beside = ""
    try:
        derive.check(transform, fields_of(given), fields, columns)
    except ConfigError as e:
        beside = str(e)
    made = sum(map(len, found.rows.values()))
    good = not found.failures and not beside
    if json:
        _print_json(transform.code.digest, count, found, beside, micros)
        return good
    _show_rows(fields, found, made)
    show_failures(found.failures)
    say(
        f"{transform.code.name}: {made:,} rows of {stream} made of {count:,} readings, {len(found.failures):,} failed; "
        f"{micros:.1f} us of CPU a reading"
    )
    say(beside or "it is row-wise: in halves, backwards and alone, the readings gave the same rows")
    if good:
        say(f"to use it: `transform: FILE` below {stream} in your configuration, then `headrace restart`")
    return good


def _print_json(digest: str, count: int, found: "Derived", beside: str, micros: float) -> None:
    import orjson

    out = {
        "version": digest,
        "readings": count,
        "failed": len(found.failures),
        "row_wise": not beside,
        "microseconds_a_reading": round(micros, 2),
        "rows": [{"reading": reading, **row} for reading, rows in sorted(found.rows.items()) for row in rows],
        "failures": [{"reading": reading, **it._asdict()} for reading, it in sorted(found.failures.items())],
    }
    data(orjson.dumps(out, default=str).decode())


def _show_rows(fields: "Sequence[Field]", found: "Derived", made: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rows = [(reading, row) for reading, them in sorted(found.rows.items()) for row in them][:LINES]
    if not rows:
        return
    table = Table("reading", *(f.name for f in fields), box=SIMPLE_HEAD, pad_edge=False)
    for reading, row in rows:
        table.add_row(str(reading), *(Text(printable(short(row[f.name]))) for f in fields))
    show(table)
    if made > len(rows):
        say(f"and {made - len(rows):,} further rows; --json shows all")
