"""What `headrace contracts new` says of the contract: a line for each key, then what it could not tell."""

from pathlib import Path

from headrace.cli.output import printable, say
from headrace.contracts.infer import Draft, Told
from headrace.contracts.sample import Sample

_WIDEST = 48  # of a column
_ROWS = 60
_HEAD = ("key", "column", "type", "unit", "")


def explain(draft: Draft, sample: Sample, contract: Path) -> None:
    """Print it, for a person."""
    readings = len(sample.readings)
    say(f"\nThe contract {draft.contract.name}, from {readings} {'message' if readings == 1 else 'messages'}:\n")
    for line in table(draft.told):
        say(line)
    notes = [*sample.notes, *draft.hints]
    if notes:
        say("\nLook at:")
    for note in notes:
        say(f"  - {printable(note)}")
    say(f"\nLook through it, and add units and valid ranges: {contract}")


def table(told: tuple[Told, ...]) -> list[str]:
    """A line for each key, under a line of titles. Of very many keys those that need a look come first."""
    from rich.cells import cell_len

    shown = told if len(told) <= _ROWS else tuple(sorted(told, key=lambda t: not t.open)[:_ROWS])
    rows = [(t.key, "=" if t.field == t.key else t.field or "(none)", t.type, t.unit, t.why) for t in shown]
    cells = [_HEAD, *(tuple(_short(c) if i < 4 else printable(c) for i, c in enumerate(r)) for r in rows)]
    widths = [max(cell_len(r[i]) for r in cells) for i in range(4)]
    lines = ["  ".join([*(c + " " * (w - cell_len(c)) for c, w in zip(r, widths, strict=False)), r[4]]) for r in cells]
    lines = [line.rstrip() for line in lines]
    if len(told) > len(shown):
        lines.append(f"and {len(told) - len(shown):,} more")
    return [f"  {line}" for line in lines]


def _short(text: str) -> str:
    """The end of a long path says more than its beginning."""
    plain = printable(text)
    return plain if len(plain) <= _WIDEST else f"...{plain[-_WIDEST + 3 :]}"
