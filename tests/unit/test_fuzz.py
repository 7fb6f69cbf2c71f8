"""Mutated payloads of every decoder, in short (`make fuzz` has 10,000 each), and that what judges them can fail."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from bridge.decoders import formats
from bridge.decoders.base import Found, Reading, Refused, Source
from headrace.config.formats import Compression
from headrace.config.route import Format
from headrace.errors import PoisonError, Reason
from tests.fuzz import judge
from tests.fuzz.cases import Case, cases
from tests.fuzz.judge import run

COUNT = 200


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return cases(tmp_path_factory.mktemp("schemas"))


def test_every_format_and_compression_is_there(every: dict[str, Case]) -> None:
    packed = {f"json, {kind}" for kind in get_args(Compression) if kind != "none"}
    assert every.keys() >= {*get_args(Format), *formats.FORMATS, *formats.PARSERS, *packed}


def test_a_new_format_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.PARSERS, "new", formats.PARSERS["cbor"])  # type: ignore[misc]
    with pytest.raises(ValueError, match="no good payloads for the format new: add them"):
        cases(tmp_path)


def test_mutated_payloads_are_readings_or_dead_letters(every: dict[str, Case]) -> None:
    wrong = {}
    for name, case in every.items():
        tally = run(name, case, 13, range(COUNT))
        tally.finish()
        assert tally.payloads == COUNT or tally.wrong
        if tally.wrong:
            wrong[name] = tally.wrong
    assert wrong == {}


class Toy:
    """A decoder that takes what begins with `{`, and does `harm` now and then."""

    def __init__(self, harm: str = "") -> None:
        self.ignored, self.harm = 0, harm

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        if not payload.startswith(b"{"):
            return [] if self.harm == "nothing" else [Refused(PoisonError(Reason.MALFORMED, "no object"), payload)]
        if self.harm == "raise":
            raise IndexError("out of range")
        if self.harm == "refuse":
            return [Refused(PoisonError(Reason.MALFORMED, "never"), payload)]
        if self.harm == "slow":
            sum(range(300_000))
        return [Reading("d-1", random.randbytes(8) if self.harm == "differ" else payload, identified=True)]

    def element(self, payload: bytes, index: int) -> bytes:
        return payload

    def marks(self, payload: bytes) -> Mapping[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("", ""), ("raise", "IndexError: out of range"), ("nothing", "it became nothing"),
        ("differ", "it becomes something else"), ("slow", "decode takes"), ("refuse", "only 0 of 50 payloads became"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(harm: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if harm == "slow":
        monkeypatch.setattr(judge, "CPU_SECONDS", 0.001)
    tally = run("toy", Case(Toy(harm), (b'{"a": 1}', b"[1, 2]")), 1, range(50))
    tally.finish()
    assert words in "\n".join(tally.wrong)
    assert bool(tally.wrong) == bool(harm)


def test_a_process_that_grows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(range(0, 50 * judge.MOST_MEMORY, judge.MOST_MEMORY // 4))
    monkeypatch.setattr(judge, "_memory", lambda: next(sizes))
    tally = run("toy", Case(Toy(), (b'{"a": 1}', b"[1, 2]")), 1, range(10))
    assert [w.partition(":")[0] for w in tally.wrong] == ["payload 4"]
