"""The table of docs/security.md: a row for each clause, with tests that are there and are marked with it."""

import re

import pytest

from tests.security.clauses import CLAUSES, marked
from tests.stack import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").split("## What standards ask")[1]
ROWS = [[cell.strip() for cell in line.split(" | ")] for line in TEXT.splitlines() if line.startswith("| ")][1:]
NOT_OFFERED = "EN 5.11-1, CRA I 2(m)"


def test_each_clause_has_a_row_and_no_other() -> None:
    assert [row[0].removeprefix("| ") for row in ROWS] == [*CLAUSES, NOT_OFFERED]
    assert set(marked()) == set(CLAUSES)


@pytest.mark.parametrize("clause", CLAUSES)
def test_the_tests_in_its_row_are_there(clause: str) -> None:
    (row,) = [row for row in ROWS if row[0].removeprefix("| ") == clause]
    named = re.findall(r"`(test_\w+)`", row[-1])
    assert named
    assert set(named) <= {name for _, name in marked()[clause]}
