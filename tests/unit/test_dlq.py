import tempfile
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli import dlqfilter, dlqshow
from headrace.cli.output import printable
from headrace.config import Config
from headrace.deadletters import ReadLetter, mending, redrive
from headrace.deadletters.choosing import Filter
from headrace.deadletters.exchange import Answer, Fate, Request, decode_answer, decode_request
from headrace.deadletters.journal import DropNote, Journal, RecordAt, mark
from headrace.deadletters.mending import Mended
from headrace.deadletters.redrive import Result, judge, run
from headrace.deadletters.remedies import remedy
from headrace.errors import ConfigError, Reason, TransientError

ROOT = Path(__file__).resolve().parents[2]
KEY, OTHER = b"k" * 16, b"o" * 16


def test_what_devices_send_does_not_steer_the_terminal() -> None:
    assert printable("\x1b[31mred\x9b\n") == "\\x1b[31mred\\x9b\\n"
    assert dlqshow.excerpt(b'{"a":\n"\xc3\xa9"}') == '{"a":\n"é"}'
    assert dlqshow.excerpt(b"a\tb\r\n") == "a\\tb\\r\n"
    assert "\x1b" not in dlqshow.excerpt(b"\x1b[2J text")


def test_bytes_that_are_no_text_are_shown_in_hexadecimal_with_the_printable_characters() -> None:
    assert dlqshow.excerpt(b"\0dev-1\xff0123456789") == (
        "00000000  00646576 2d31ff30 31323334 35363738  .dev-1.012345678\n"
        "00000010  39                                   9"
    )
    long = dlqshow.excerpt(b"\0" * 5000)
    assert long.endswith("... 904 bytes more: --raw")


def test_a_beginning_must_name_one_letter() -> None:
    keys = [bytes.fromhex("ab" * 16), bytes.fromhex("ac" + "00" * 15)]
    assert dlqfilter.chosen(keys, ["AB", "ac00"]) == keys
    for prefix, words in (("a", "2 letters"), ("f", "no letters")):
        with pytest.raises(ConfigError, match=words):
            dlqfilter.chosen(keys, [prefix])


@pytest.mark.parametrize("text", ["soon", "5", "1w", "", "d", "2026-13-01"])
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--since"):
        dlqfilter.moment("--since", text)


def test_a_time_without_a_zone_is_utc() -> None:
    assert (
        dlqfilter.moment("--since", "2023-11-14T22:13:20")
        == dlqfilter.moment("--since", "2023-11-14T22:13:20Z")
        == 1_700_000_000_000
    )
    assert dlqfilter.moment("--since", "2h") - dlqfilter.moment("--since", "3h") == pytest.approx(3_600_000, abs=1000)


STREAMS = st.sampled_from(["imu", "air", ""])
REASONS = st.sampled_from(list(Reason)[:3])
LETTERS = st.builds(
    lambda key, stream, reason, device, ms: ReadLetter(
        key, b"", {"stream": stream.encode(), "reason": reason.encode(), "device": device.encode()}, 0, 0, ms
    ),
    st.binary(min_size=2, max_size=2), STREAMS, REASONS, st.sampled_from(["a", "b", ""]), st.integers(0, 9),
)  # fmt: skip


@given(
    st.lists(LETTERS, max_size=12),
    st.builds(
        Filter,
        stream=STREAMS, reason=REASONS | st.just(""), device=st.sampled_from(["a", "c", ""]),
        since_ms=st.none() | st.integers(0, 9), until_ms=st.none() | st.integers(0, 9),
    ),
)  # fmt: skip
def test_a_filter_takes_what_has_all_that_it_names_and_the_groups_have_each_letter_once(
    letters: list[ReadLetter], wanted: Filter
) -> None:
    taken = [it for it in letters if wanted.takes(it)]
    for it in letters:
        named = (wanted.stream, wanted.reason, wanted.device)
        same = all(not w or w == it.text(n) for n, w in zip(("stream", "reason", "device"), named, strict=True))
        inside = (wanted.since_ms or 0) <= it.time_ms < (10 if wanted.until_ms is None else wanted.until_ms)
        assert (it in taken) == (same and inside)
    for by_device in (False, True):
        groups = dlqfilter.group(taken, by_device=by_device)
        assert sum(g.count for g in groups) == len(taken)
        assert all(g.first_ms <= g.last_ms for g in groups)
        assert not by_device or all(len(g.devices) <= 1 for g in groups)


def test_the_words_of_a_filter_say_all_that_it_asks_for() -> None:
    assert Filter().words() == ""
    wanted = Filter("imu", "malformed", "bridge", "a", 0, 60_000).of_keys([KEY])
    assert wanted.words() == (
        "stream imu, reason malformed, stage bridge, device a, since 1970-01-01T00:00:00Z, "
        "until 1970-01-01T00:01:00Z, 1 by their keys"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("", "odd", "", "", "", ""), "--reason odd: one of malformed, "),
        (("", "", "lake", "", "", ""), "--stage lake: one of bridge"),
        (("", "", "", "", "2026-01-02", "2026-01-01"), "no letter can be chosen"),
        (("", "", "", "", "", "soon"), "--until soon: write 90m"),
    ],
)
def test_options_that_no_letter_can_have_are_refused(options: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dlqfilter.filter_of(*options)


def test_the_table_says_how_many_of_which_device_since_when_and_the_latest_message() -> None:
    def letter(n: int, device: bytes, detail: bytes = b"ax = 999") -> ReadLetter:
        headers = {"stream": b"imu", "reason": b"out_of_range", "field": b"ax", "stage": b"clean", "device": device}
        return ReadLetter(bytes([n]), b"", headers | {"detail": detail}, 0, n, 1_700_000_000_000 + n * 60_000)

    lines: list[str] = []
    dlqfilter.show_groups(dlqfilter.group([letter(1, b"w-1"), letter(2, b"w-2", b"latest \x1b[31m")]), lines.append)
    assert lines == [
        "STREAM  REASON        FIELD  STAGE  DEVICE     LETTERS  FIRST (UTC)          LAST (UTC)",
        "imu     out_of_range  ax     clean  2 devices        2  2023-11-14 22:14:20  2023-11-14 22:15:20",
        "    e.g. 02  latest \\x1b[31m",
    ]
    lines.clear()
    dlqfilter.show_groups(dlqfilter.group([letter(1, b"w-1")]), lines.append)
    assert " w-1 " in lines[1]


def test_every_reason_has_a_remedy_and_the_page_has_its_words() -> None:
    page = (ROOT / "docs" / "deadletters.md").read_text(encoding="utf-8")
    for reason in Reason:
        found = remedy(reason)
        assert found is not None, f"{reason}: say what it means and what to do, in deadletters/remedies.py"
        assert f"| `{reason}` | {found.meaning} | {found.action} |\n" in page
        assert reason in (ROOT / "docs/runbooks/headrace-dead-letters-rising.md").read_text(encoding="utf-8")
    assert remedy("foreign") is None


def test_a_letter_is_shown_with_its_remedy_and_who_dropped_it() -> None:
    it = ReadLetter(KEY, b"{", {"reason": b"no_route", "detail": b"no route takes it"}, 0, 0, 0)
    known = Journal({KEY: it}, drops={KEY: DropNote(KEY, "ana", 1_700_000_000_000_000, "reason no_route")})
    shown = list(dlqshow._lines(known, it, b"{"))
    assert "state: dropped" in shown
    assert "dropped: by ana at 2023-11-14T22:13:20Z (reason no_route)" in shown
    action = remedy("no_route")
    assert action is not None
    assert f"what to do: {action.action}." in shown


def test_a_letter_is_redriven_when_cleaning_is_past_all_its_readings() -> None:
    sent_to = [RecordAt("imu.raw", 0, 5), RecordAt("imu.raw", 1, 2)]
    fates = []
    for passed in (
        {},
        {("imu.raw", 0): 6},
        {("imu.raw", 0): 6, ("imu.raw", 1): 2},
        {("imu.raw", 0): 6, ("imu.raw", 1): 3},
    ):
        result = Result(KEY, 1, Fate.WAITING, to=sent_to)
        judge([result], passed, Journal())
        fates.append(result.fate)
    assert fates == [Fate.WAITING] * 3 + [Fate.REDRIVEN]


def test_a_newer_letter_says_why_it_was_refused_again() -> None:
    headers = dict([mark(KEY, 2), ("reason", b"out_of_range"), ("detail", b"too hot")])
    journal = Journal({OTHER: ReadLetter(OTHER, b"", headers, 0, 0, 0)}, newer={(KEY, 2): [OTHER]})
    result = Result(KEY, 2, Fate.WAITING, to=[RecordAt("imu.raw", 0, 5)])
    judge([result], {("imu.raw", 0): 6}, journal)
    assert (result.fate, result.reason, result.detail, result.became) == (
        Fate.REFUSED_AGAIN, "out_of_range", "too hot", [OTHER],
    )  # fmt: skip


@pytest.mark.parametrize("letters", [1, 5000])
def test_a_redrive_process_that_ends_before_it_reads_the_request_says_why(letters: int, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("nonsense: 1\n")
    request = Request(frozenset(b"%016d" % n for n in range(letters)), dry_run=True)
    with pytest.raises(ConfigError, match="nonsense: unknown key"):
        run(Config(), request, tmp_path / "wrong.yaml", 0, lambda _done, _what: None)


def test_what_was_sent_is_reported_even_when_kafka_is_away_before_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> dict[tuple[str, int], int]:
        raise TransientError("Kafka is away")

    answer = Answer(b"\xaa", 1, Fate.WAITING, readings=1, to=(RecordAt("imu.raw", 0, 7),))
    monkeypatch.setattr(redrive, "_bridge", lambda *_: [answer])
    monkeypatch.setattr(redrive, "_passed", away)
    (result,) = run(Config(), Request(frozenset([b"\xaa"])), Path("x"), 0, lambda _done, _what: None)
    assert (result.fate, result.detail, result.good) == (Fate.WAITING, "Kafka is away", False)


def test_the_redrive_process_reads_the_request_that_was_written_and_its_answers_are_read_back() -> None:
    mended = {KEY: Mended(b"\xff{", is_reading=False), OTHER: Mended(b"{}", is_reading=True)}
    request = Request(frozenset([KEY, OTHER]), again=True, dry_run=True, mended=mended)
    assert decode_request(request.encode()) == request
    assert decode_request(b'{"keys": []}') == Request(frozenset())
    refused = Answer(KEY, 2, Fate.REFUSED, reason="no_route", field="ax", detail="no route takes it")
    sent = Answer(KEY, 1, Fate.WAITING, readings=2, letters=1, to=(RecordAt("imu.raw", 0, 7),))
    for answer in (refused, sent):
        assert answer.encode().count(b"\n") == 1
        assert decode_answer(answer.encode()) == answer


@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(max_size=30), min_size=1, max_size=4))
def test_what_is_exported_is_read_back_byte_for_byte_from_a_file_and_from_a_folder(found: dict[bytes, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name) / "letters", Path(name) / "letters.jsonl"
        folder.mkdir()
        lines = []
        for key, value in found.items():
            it = ReadLetter(key, value, {"reason": b"malformed", "event-id": b"\xff\0"}, 0, 0, 0)
            lines.append(mending.to_json(mending.about(it, "open") | mending.body(value, None)))
            mending.write_files(folder, it, value, None)
        file.write_bytes(b"\n".join(lines))
        (folder / mending.INDEX).write_bytes(b"".join(lines))
        expected = {key: Mended(value, is_reading=False) for key, value in found.items()}
        assert mending.read_back(file) == mending.read_back(folder) == expected


def test_a_reading_is_exported_as_a_device_would_send_it(tmp_path: Path) -> None:
    reading = {"event_time": datetime(2026, 1, 1, tzinfo=UTC), "x": 1.5, "raw": b"\1\2", "_quality": "x:sentinel:null"}
    it = ReadLetter(KEY, b"", {}, 0, 0, 0)
    mending.write_files(tmp_path, it, b"", reading)
    (tmp_path / "one.jsonl").write_bytes(mending.to_json(mending.about(it, "open") | mending.body(b"", reading)))
    wanted = {"event_time": "2026-01-01T00:00:00Z", "x": 1.5, "raw": "AQI="}
    for place in (tmp_path, tmp_path / "one.jsonl"):
        found = mending.read_back(place)[KEY]
        assert (found.is_reading, orjson.loads(found.value)) == (True, wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no letter in it"), ("nothing", "line 1: not a JSON object with `key`"),
        ('{"key": "6b"}', "line 1: neither payload"), ('{"key": "6b", "payload": 1}', "line 1: neither payload"),
        ('{"key": "6b", "payload": ""}\n\n{"key": "6b", "payload": ""}', "line 3: the letter 6b is there twice"),
        ('{"key": "6b", "payload_base64": "="}', "is no base64"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_export_is_refused_with_the_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(ConfigError, match=words):
        mending.read_back(tmp_path / "f")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": ["xy"]}', b'{"keys": [1]}', b'{"keys": 1}'])
def test_a_request_that_is_no_json_object_with_keys_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match="standard input"):
        decode_request(text)
