"""What standards ask of a platform for devices, and the tests of each clause, wherever they lie.

A test is marked `@pytest.mark.clause("CR 2.1")`, or all tests of a file are by their `pytestmark`. `make security-test`
runs the marked ones and says which clause holds; docs/security.md has the same table in words.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import ROOT

MARK = "clause"
FOLDERS = ("tests/security", "tests/integration", "tests/unit")
# EN: ETSI EN 303 645; CR: IEC 62443-4-2; CRA: its Annex I, part and paragraph.
CLAUSES = {
    "EN 5.1-1, CR 1.2": "a credential of its own for each device",
    "EN 5.1-2": "no default password, and none that could be guessed",
    "CR 2.1": "each does what it may, and nothing else",
    "CR 1.9": "who is revoked is out within 60 seconds, its live connection too",
    "EN 5.5-1": "nothing listens beyond this machine without TLS 1.2 or newer",
    "CR 1.11": "failed logins are limited",
    "CR 3.10": "what was tampered with, or is older, is not installed",
    "CR 4.1": "secrets are readable by their owner alone, can be changed, and stand in no log",
    "CR 3.5": "malformed input stops nothing",
    "CR 2.8": "each act is audited, and tampering shows",
    "CRA I 2(h)": "who floods harms nobody else",
    "CRA II 1": "a bill of materials, and a place to report holes to",
}
Case = tuple[str, str]  # file below the root, function


def marked() -> dict[str, list[Case]]:
    """The tests of each clause, as the files have them."""
    found: dict[str, list[Case]] = {clause: [] for clause in CLAUSES}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("test_*.py")):
            for clause, name in _of(path):
                found.setdefault(clause, []).append((path.relative_to(ROOT).as_posix(), name))
    return found


def _of(path: Path) -> Iterator[Case]:
    text = path.read_text(encoding="utf-8")
    if f"mark.{MARK}(" not in text:
        return
    tree = ast.parse(text)
    whole = [c for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0])
             for c in _clauses(node.value)]  # fmt: skip
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for clause in [*whole, *(c for decorator in node.decorator_list for c in _clauses(decorator))]:
                yield clause, node.name


def _clauses(node: ast.expr) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == MARK:
            yield from (str(a.value) for a in call.args if isinstance(a, ast.Constant))


# As a plugin of pytest (`-p tests.security.clauses`) it runs the marked tests alone, and says at the end what held.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked with no clause."""
    others = [it for it in items if it.get_closest_marker(MARK) is None]
    config.hook.pytest_deselected(items=others)
    items[:] = [it for it in items if it not in set(others)]
    for it in items:
        it.user_properties += [(MARK, mark.args[0]) for mark in it.iter_markers(MARK)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each clause."""
    counts: dict[str, dict[str, int]] = {clause: {} for clause in CLAUSES}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, clause in getattr(report, "user_properties", []):
                if name == MARK:
                    counts[clause][outcome] = counts[clause].get(outcome, 0) + 1
    width = max(map(len, CLAUSES))
    for clause, asks in CLAUSES.items():
        told = ", ".join(f"{n} {outcome}" for outcome, n in counts[clause].items()) or "no test ran"
        terminalreporter.write_line(f"{clause:{width}}  {asks}: {told}")
