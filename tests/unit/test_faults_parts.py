"""The oracle of derived rows must itself fail: for each way in which they can be wrong, rows that are."""

from collections.abc import Callable

import pandas as pd
import pytest

from tests.faults import parts
from tests.faults.parts import Part, Reading, audit, parts_of

BOOT, DEVICES, NUMBERS = "f1-abc", 2, 60
Found = tuple[list[Part], list[tuple[int, int]]]
READINGS = [
    Reading(f"{BOOT}-{d}", BOOT, n, 1_700_000_000_000_000 + n, n / 10, (d, n))
    for d in range(DEVICES) for n in range(NUMBERS)
]  # fmt: skip


def right() -> Found:
    """What derive leaves where nothing goes wrong."""
    rows = [
        Part(r.device, r.boot, r.sequence, r.time, part, r.ax + part + 1, 1, None, (r.place[0], 0, r.sequence, part))
        for r in READINGS
        for part in range(parts_of(r.sequence) or 0)
    ]
    return rows, [r.place for r in READINGS if parts_of(r.sequence) is None]


def test_each_row_and_each_letter_once_passes() -> None:
    found = audit(READINGS, *right())
    assert found.faults == []
    assert found.readings == len(READINGS)
    assert found.rows > NUMBERS
    assert found.letters == 3 * DEVICES


SPOILT: list[tuple[str, str, Callable[[Found], Found]]] = [
    ("a row removed", "lost", lambda f: (f[0][1:], f[1])),
    ("no letter", "lost", lambda f: (f[0], f[1][1:])),
    ("a row doubled", "doubled", lambda f: ([*f[0], f[0][0]._replace(source=(0, 0, 99, 0))], f[1])),
    ("a source that is two rows", "doubled", lambda f: ([f[0][0]._replace(source=f[0][1].source), *f[0][1:]], f[1])),
    ("two letters", "doubled", lambda f: (f[0], [*f[1], f[1][0]])),
    ("a value altered", "altered", lambda f: ([f[0][0]._replace(value=0.5), *f[0][1:]], f[1])),
    ("a time altered", "altered", lambda f: ([f[0][0]._replace(time=1), *f[0][1:]], f[1])),
    ("a note of quality", "altered", lambda f: ([f[0][0]._replace(quality="value:maximum:null"), *f[0][1:]], f[1])),
    ("a row of no reading", "invented", lambda f: ([*f[0], f[0][0]._replace(sequence=999)], f[1])),
    ("one part too many", "invented", lambda f: ([*f[0], f[0][0]._replace(part=2)], f[1])),
    ("a row and a letter", "invented", lambda f: (f[0], [*f[1], (0, f[0][0].sequence)])),
    (
        "rows of one reading by two versions", "mixed",
        lambda f: ([r._replace(made_by=2, value=r.value + 1) if r.part and r.value else r for r in f[0]], f[1]),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "word", "spoil"), SPOILT, ids=[s[0] for s in SPOILT])
def test_rows_that_are_wrong_fail(what: str, word: str, spoil: Callable[[Found], Found]) -> None:
    found = audit(READINGS, *spoil(right()))
    assert getattr(found, word), what
    assert any(word in text for text in found.faults)


def test_the_function_makes_what_the_oracle_computes() -> None:
    """Reading by reading; the oracle does not share a line with it."""
    names: dict[str, object] = {}
    exec(parts._FUNCTION.format(version=1), names)
    transform = names["transform"]
    assert callable(transform)
    made: list[tuple[int, int, float]] = []
    for r in READINGS:
        frame = pd.DataFrame({"event_time": [r.time], "sequence": [r.sequence], "boot_id": [BOOT], "ax": [r.ax]})
        wanted = parts_of(r.sequence)
        try:
            rows = transform(frame)
        except ValueError:
            assert wanted is None
            continue
        assert rows["value"].isna().any() == (wanted is None)
        if wanted is not None:
            made += zip(rows["sequence"].astype(int), rows["part"], rows["value"], strict=True)
    assert made == [(r.sequence, r.part, r.value) for r in right()[0]]
