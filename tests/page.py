"""A page of docs/ whose commands are run: blocks of `sh`, each with the `text` that it prints, if one follows.

Volatile parts are matched by their kind: keys and passwords, ports, how long something took, and times that are not of
the page's own day. A line `...` stands for any lines. All else must be printed as the page has it, but for blanks.
"""

import re
from itertools import pairwise
from typing import NamedTuple

DAY = "2026-11-23"  # of the readings that pages send
NOT_GOOD = "# exit code 1"  # at the end of a block
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VOLATILE = {
    r"\b[0-9a-f]{20,}\b": r"[0-9a-f]{20,}",
    r"(?<=-p )\d+": r"\d+",
    r"(?<=after )[\d.]+ s": r"[\d.]+ s",
    r"\b[\d.,]+ us\b": r"[\d.,]+ us",
    rf"\b(?!{DAY})20\d\d-\d\d-\d\d \d\d:\d\d:\d\d": r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d",
    rf"\b(?!{DAY})20\d\d-\d\d-\d\d\b": r"20\d\d-\d\d-\d\d",
    "─+": "─+",
}
_ANY = re.compile("|".join(f"({v})" for v in _VOLATILE))
_KINDS = list(_VOLATILE.values())
_READING = ("headrace query", "headrace quality", "headrace dlq list", "headrace dlq show")


class Step(NamedTuple):
    """A block of commands, and what they print; empty where the page does not say."""

    commands: str
    prints: str

    @property
    def reads(self) -> bool:
        """Whether it changes nothing: it may be run again until it prints what it should."""
        return all(line.startswith(_READING) for line in self.commands.splitlines())

    @property
    def code(self) -> int:
        """The exit code that it should have."""
        return 1 if self.commands.rstrip().endswith(NOT_GOOD) else 0

    def matches(self, output: str) -> bool:
        """Whether `output` is what it should print."""
        if not self.prints:
            return True
        wanted = "".join(r"(?:.*\n)*?" if x == "..." else f"{_loose(x)}\n" for x in _lines(self.prints))
        return re.fullmatch(wanted, "".join(f"{x}\n" for x in _lines(output))) is not None


def steps(page: str) -> list[Step]:
    """The blocks of a page that are run, in order."""
    blocks = [*_BLOCK.findall(page), ("", "")]
    return [
        Step(text, after if kind == "text" else "") for (is_, text), (kind, after) in pairwise(blocks) if is_ == "sh"
    ]


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _loose(line: str) -> str:
    parts, at = [], 0
    for found in _ANY.finditer(line):
        parts += [re.escape(line[at : found.start()]), _KINDS[(found.lastindex or 1) - 1]]
        at = found.end()
    return "".join([*parts, re.escape(line[at:])])
