"""What `headrace transform test` prints of any transform."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace.cli.output import printable, say

if TYPE_CHECKING:
    from headrace.transforms.run import Failure

LINES = 20  # of rows, and of failures


def show_failures(failures: "Mapping[int, Failure]") -> None:
    """Say on which rows it failed, each message once, and what to do."""
    from headrace.transforms.hints import hint

    groups: dict[str, list[int]] = {}
    for row, failure in sorted(failures.items()):
        groups.setdefault(failure.message, []).append(row)
    for message, rows in sorted(groups.items(), key=lambda it: -len(it[1]))[:LINES]:
        noun = "row" if len(rows) == 1 else "rows"
        say(f"failed on {len(rows):,} {noun}, the first is {rows[0]}: {printable(message)}")
        if text := hint(message):
            say(f"  {text}")
    if len(groups) > LINES:
        say(f"and {len(groups) - LINES:,} further messages; --json shows all")


def short(value: Any) -> str:
    """A value for a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, list) and len(value) > 4:
        return f"[{', '.join(map(short, value[:4]))}, ... {len(value):,} items]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
