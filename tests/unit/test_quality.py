"""`headrace quality`: what the rules did, from rows in a folder and from dead letters."""

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from headrace.cli import context
from headrace.cli.quality import quality as command
from headrace.cli.qualitypicture import svg
from headrace.config import Config
from headrace.deadletters import ReadLetter
from headrace.errors import ConfigError, TransientError
from headrace.lake import letters
from headrace.lake.quality import Deed, Quality, Scope, by_day, deed_of, quality
from tests.unit.test_sql import config, store

DAY, NEXT = dt.date(2026, 1, 1), dt.date(2026, 1, 2)
NOTES = [None, "ax:maximum:clamp", "ax:maximum:clamp;t:sentinel:null", None]


def letter(key: bytes, at: dt.datetime, **headers: str) -> ReadLetter:
    texts = {"stage": "clean", "stream": "imu", **headers}
    return ReadLetter(key, b"x", {k: v.encode() for k, v in texts.items()}, 0, 0, int(at.timestamp() * 1000))


REFUSED = [
    letter(b"1", dt.datetime(2026, 1, 1, 23, 59, 59, tzinfo=dt.UTC), device="w", field="ax", rule="max_step"),
    letter(b"2", dt.datetime(2026, 1, 2, tzinfo=dt.UTC), device="w<b>", reason="missing_field", field="ay", rule=""),
    letter(b"3", dt.datetime(2026, 1, 2, tzinfo=dt.UTC), stream="other", device="w", rule="max_step"),
]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    store(tmp_path, "imu.clean", 1, 7, {"ax": [1.0] * 4, "_quality": NOTES})
    store(tmp_path, "imu.clean", 2, 7, {"ax": [1.0], "_quality": ["an older note"]})
    monkeypatch.setattr(letters, "records", lambda *_: REFUSED)
    cfg = config(tmp_path)
    monkeypatch.setattr(context, "config", lambda: cfg)
    return cfg


def test_each_rules_deeds_are_counted_by_device_and_day(lake: Config) -> None:
    found = quality(lake, Scope(("imu",)))
    assert dict(found.deeds) == {
        Deed("imu", "w", DAY, "ax", "maximum", "clamp"): 2,
        Deed("imu", "w", DAY, "t", "sentinel", "null"): 1,
        Deed("imu", "w", NEXT, "", "an older note", ""): 1,
        Deed("imu", "w", DAY, "ax", "max_step", "reject"): 1,
        Deed("imu", "w<b>", NEXT, "ay", "missing_field", "reject"): 1,
    }
    assert found.readings.total() == 7
    assert found.share(Deed("imu", "w", DAY, "ax", "maximum", "clamp")) == 2 / 5


def test_what_calibrations_and_transforms_made_is_no_deed_of_a_rule(tmp_path: Path, lake: Config) -> None:
    notes = ["ax:calibration:3f2a9c01;ay:calibration:incomplete", "ax:maximum:clamp;ax:transform:0123abcd", "transform"]
    store(tmp_path, "imu.clean", 3, 7, {"ax": [1.0] * 3, "_quality": notes})
    found = quality(lake, Scope(("imu",), since=dt.date(2026, 1, 3)))
    assert {deed[3:]: n for deed, n in found.deeds.items()} == {
        ("ay", "calibration", "incomplete"): 1,
        ("ax", "maximum", "clamp"): 1,
        ("", "transform", ""): 1,
    }


def test_a_device_and_days_can_be_chosen(lake: Config) -> None:
    assert quality(lake, Scope(("imu",), "w<b>")).readings.total() == 1
    assert quality(lake, Scope(("imu",), "dead_letters'")).readings.total() == 0
    assert {d.day for d in quality(lake, Scope(("imu",), since=NEXT)).deeds} == {NEXT}
    assert {d.day for d in quality(lake, Scope(("imu",), until=DAY)).deeds} == {DAY}
    with pytest.raises(ConfigError, match="no stream is called pump"):
        quality(lake, Scope(("pump",)))


def test_without_kafka_what_is_in_the_lake_is_shown(lake: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Any:
        raise TransientError("no broker answers")

    monkeypatch.setattr(letters, "records", away)
    found = quality(lake, Scope(("imu",)))
    assert (found.problem, len(found.deeds)) == ("no broker answers", 3)


@pytest.mark.usefixtures("lake")
def test_the_command_prints_a_table_or_json_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(["imu"], picture=tmp_path / "q.svg")
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "2026" in line]
    assert lines[0] == ["imu", "w", "2026-01-01", "ax", "maximum", "clamp", "2", "40.00%"]
    assert len(lines) == 5
    command(["imu"], json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["readings"] == 7
    assert {"stream": "imu", "device": "w", "day": "2026-01-01", "field": "t", "rule": "sentinel", "action": "null",
            "readings": 1, "of": 5} in answer["rules"]  # fmt: skip
    drawn = ET.fromstring((tmp_path / "q.svg").read_text(encoding="utf-8"))
    titles = [t.text or "" for t in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert "ax:maximum:clamp, 2026-01-01: 2 of 5 readings, 40.00%" in titles


def test_an_empty_lake_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(letters, "records", lambda *_: [])
    monkeypatch.setattr(context, "config", lambda: config(tmp_path))
    command(["imu"])
    out = capsys.readouterr()
    assert not out.out
    assert "nothing of imu is stored in the lake yet" in out.err
    assert "`headrace simulate`" in out.err
    with pytest.raises(ConfigError, match="--since 2026-13-01: write a day as"):
        command(["imu"], since="2026-13-01")


@pytest.mark.parametrize("count", [0, 1, 200])
def test_any_number_of_days_and_any_text_is_a_picture(count: int) -> None:
    days = {DAY + dt.timedelta(days=i): (i, 2 * i) for i in range(count)}
    root = ET.fromstring(svg({"a<b": {"x&y:\x1b:null": days}} if count else {}))
    assert root.tag.endswith("svg")


def test_the_picture_fits_any_window_and_explains_itself() -> None:
    days = {DAY + dt.timedelta(days=i): (i + 1, 5000) for i in range(0, 90, 3)}
    root = ET.fromstring(svg({"imu": {f"field_{i}:{'x' * 60}:null": days for i in range(45)}}))
    assert root.get("width") is None
    assert "width:100%" in root.get("style", "")
    wide = float(root.get("viewBox", "").split()[2])
    space = "{http://www.w3.org/2000/svg}"
    texts = [("".join(t.itertext()), float(t.get("x", ""))) for t in root.iter(f"{space}text")]
    assert {"none", "< 0.1 %", "< 1 %", "< 10 %", "< 50 %", "more"} <= {words for words, _ in texts}
    assert "and 5 rules more, which acted less" in {words for words, _ in texts}
    assert [x for words, x in texts if words in {"1 Jan", "1 Feb", "1 Mar"}] == pytest.approx(
        [12, 12 + 31 * 456 / 88, 12 + 59 * 456 / 88], abs=0.01
    )
    cells = [r for r in root.iter(f"{space}rect") if r.find(f"{space}title") is not None]
    assert len(cells) == 40 * 88, "days on which nothing was met have a place too"
    assert max(float(r.get("x", "")) + float(r.get("width", "")) for r in cells) <= wide - 12
    assert len({r.get("fill") for r in cells}) == 4


def test_names_of_days_stand_apart() -> None:
    days = {DAY + dt.timedelta(days=i): (1, 2) for i in range(3)}
    root = ET.fromstring(svg({"imu": {"ax:maximum:null": days}}))
    names = [t for t in root.iter("{http://www.w3.org/2000/svg}text") if (t.text or "").endswith(" Jan")]
    assert [(t.text, t.get("x")) for t in names] == [("1 Jan", "12"), ("3 Jan", "56")]


def test_notes_of_another_form_are_kept_whole() -> None:
    deed = deed_of("s", "d", DAY, "a:b:c")
    assert deed[3:] == ("a", "b", "c")
    assert deed_of("s", "d", DAY, "a:b")[3:] == ("", "a:b", "")
    assert by_day(Quality(Counter([deed]))) == {"s": {"a:b:c": {DAY: (1, 0)}}}
