from pathlib import Path

import pytest

from headrace.cli import dlqredrive, dlqshow
from headrace.cli.output import printable
from headrace.config import Config
from headrace.deadletters import ReadLetter, redrive
from headrace.deadletters.exchange import Answer, Fate, Request, decode_answer, decode_request
from headrace.deadletters.journal import Journal, RecordAt, mark
from headrace.deadletters.redrive import Result, judge, run
from headrace.errors import ConfigError, TransientError

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
    assert dlqshow.chosen(keys, ["AB", "ac00"]) == keys
    for prefix, words in (("a", "2 letters"), ("f", "no letters")):
        with pytest.raises(ConfigError, match=words):
            dlqshow.chosen(keys, [prefix])


@pytest.mark.parametrize("text", ["soon", "5", "1w", "", "d", "2026-13-01"])
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--since"):
        dlqredrive._since(text)


def test_a_time_without_a_zone_is_utc() -> None:
    assert dlqredrive._since("2023-11-14T22:13:20") == dlqredrive._since("2023-11-14T22:13:20Z") == 1_700_000_000_000
    assert dlqredrive._since("2h") - dlqredrive._since("3h") == pytest.approx(3_600_000, abs=1000)


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
    request = Request(frozenset([KEY, OTHER]), again=True, dry_run=True)
    assert decode_request(request.encode()) == request
    assert decode_request(b'{"keys": []}') == Request(frozenset())
    refused = Answer(KEY, 2, Fate.REFUSED, reason="no_route", field="ax", detail="no route takes it")
    sent = Answer(KEY, 1, Fate.WAITING, readings=2, letters=1, to=(RecordAt("imu.raw", 0, 7),))
    for answer in (refused, sent):
        assert answer.encode().count(b"\n") == 1
        assert decode_answer(answer.encode()) == answer


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": ["xy"]}', b'{"keys": [1]}', b'{"keys": 1}'])
def test_a_request_that_is_no_json_object_with_keys_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match="standard input"):
        decode_request(text)
