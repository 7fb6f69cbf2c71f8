"""Objects with the same keys, read alike: the exact way gives the same for every payload, good or mutated."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.decoders.base import Found, Reading, Refused, Source
from bridge.decoders.objects import ObjectReader
from bridge.decoders.shapes import Shapes
from headrace.errors import PoisonError
from tests.fuzz.cases import Case, cases
from tests.fuzz.judge import made
from tests.unit import payload_formats as pf

COUNT = 150
IT = pf.contract(
    a=("double", {"aliases": ["alpha"], "sentinels": ["NA"]}), n="long", label=("string", {"sentinels": ["-"]}),
    place={"type": "record", "name": "p", "fields": [{"name": "x", "type": ["null", "double"], "default": None}]},
    _extra="string",
)  # fmt: skip


def said(found: list[Found]) -> list[Any]:
    """All that counts of what a payload became."""
    return [
        (one.error.reason, str(one.error), one.error.field, one.error.value, one.error.device, one.original)
        if isinstance(one, Refused)
        else one
        for one in found
    ]


def decoded(case: Case, payload: bytes) -> tuple[list[Any], int]:
    found = said(case.decoder.decode(payload, case.source, pf.NOW))
    ignored, case.decoder.ignored = case.decoder.ignored, 0
    return found, ignored


def test_the_exact_way_gives_the_same_for_mutated_payloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, case in cases(tmp_path).items():
        payloads = [made(name, case, 29, i) for i in range(COUNT)]
        alike = [decoded(case, payload) for payload in payloads]
        with monkeypatch.context() as only:
            only.setattr(Shapes, "of", lambda *_: None)
            for payload, found in zip(payloads, alike, strict=True):
                assert decoded(case, payload) == found, (name, payload[:500])


@pytest.mark.parametrize("unknown", ["refuse", "ignore", "keep"])
@pytest.mark.parametrize(
    "found",
    [
        {"a": 1.5, "n": 3}, {"a": 1, "label": "x"}, {"alpha": 2.5}, {"a": 1.0, "alpha": 2.0}, {"a": "NA", "n": 1},
        {"a": "NA"}, {"label": "-", "n": 1}, {"a": None}, {"a": None, "n": 1}, {"a": float("nan")},
        {"a": float("inf"), "n": 1}, {"a": -float("inf"), "more": 1}, {"a": True}, {"a": 2**60 + 1}, {"n": 2.0},
        {"n": 2**63}, {}, {"more": 1}, {"more": {"k": [1]}, "a": 1.5, "_quality": "x"}, {"a": 1.5, "_extra": "x"},
        {"place": {"x": 1.5}}, {"place": {"x": 1.5, "y": 2}}, {"place": None}, {"place": {}}, {"place": 3},
        {"a": 1.5, "device_id": "d-1"}, {"a": 1.5, "device_id": 7}, {"a": 1.5, "device_id": None},
        {"a": 1.5, "event_time": 1_700_000_000_000_000}, {"a": 1.5, "event_time": "no"}, {"event_time": 1},
    ],
)  # fmt: skip
def test_each_kind_of_object(found: dict[str, Any], unknown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source({"device_id": "d-1"}, unknown)

    def read(it: ObjectReader) -> Any:
        try:
            return it.read(found, source, pf.NOW), it.take_ignored()
        except PoisonError as e:
            return (e.reason, str(e), e.field, e.value, e.device), it.take_ignored()

    alike = ObjectReader(IT, 7, ("device_id",))
    first = read(alike)
    assert read(alike) == first, "with the shape that is remembered"
    monkeypatch.setattr(Shapes, "of", lambda *_: None)
    assert read(ObjectReader(IT, 7, ("device_id",))) == first


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    it = ObjectReader(IT, 7, ("device_id",))
    monkeypatch.setattr("bridge.decoders.shapes._MAX_SHAPES", 10)
    shapes = it._shapes._shapes
    for i in range(30):
        assert isinstance(it.read({"a": 1.5, f"k{i}": 1}, pf.LOOSE, pf.NOW), Reading)
        assert 0 < len(shapes) <= 10
    shapes.clear()
    it.read({"a": 1.5, "k" * 9_000: 1}, pf.LOOSE, pf.NOW)
    it.read({"a": 1.5, **{f"k{i}": 1 for i in range(130)}}, pf.LOOSE, pf.NOW)
    assert not shapes, "keys that long, or that many, are not kept"
    assert it.take_ignored() == 161


@pytest.mark.parametrize("unknown", ["refuse", "ignore", "keep"])
@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1.5, 2.5], "n": [1, 2]}, {"a": [1.5, 2], "event_time": [pf.NOW, pf.NOW + 1]}, {"n": [1.0, 2.0]},
        {"a": [1.5, float("nan")], "n": [1, 2]}, {"a": [1.5, None], "n": [1, 2]}, {"a": ["NA", 1.5], "n": [1, 2]},
        {"a": [1.5, 2**60 + 1]}, {"a": [1.5, True]}, {"n": [1, 2**63]}, {"label": ["x", "-"], "n": [1, 2]},
        {"a": [1.5, 2.5], "more": [1, 2]}, {"more": [1, 2]}, {"event_time": [pf.NOW, pf.NOW]}, {}, {"a": [], "n": []},
        {"a": [1.5, 2.5], "alpha": [1.5, 2.5]}, {"a": [1.5, 2.5], "event_time": [pf.NOW, "no"]},
        {"place": [{"x": 1.5}, {"x": 1.5, "y": 1}]}, {"a": [1.5, 2.5], "device_id": ["d-1", "d-1"]},
        {"a": [1.5, 2.5], "device_id": ["d-1", "d-2"]}, {"a": [1.5, 2.5], "event_time": [timedelta(1), timedelta(2)]},
    ],
)  # fmt: skip
def test_columns_are_read_as_their_objects_or_not_at_all(columns: dict[str, list[Any]], unknown: Any) -> None:
    source, it = Source({"device_id": "d-1"}, unknown), ObjectReader(IT, 7, ("device_id",))
    found = it.read_columns(columns, source, pf.NOW)
    ignored = it.take_ignored()
    if not found:
        assert ignored == 0
        return
    objects = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert found == [it.read(one, source, pf.NOW) for one in objects]
    assert ignored == it.take_ignored()


def test_columns_of_good_samples_are_read_at_once() -> None:
    it = ObjectReader(IT, 7, ("device_id",))
    assert len(it.read_columns({"a": [1.5, 2.5], "n": [1, 2], "more": [1, 2]}, pf.LOOSE, pf.NOW)) == 2
    assert it.take_ignored() == 2
