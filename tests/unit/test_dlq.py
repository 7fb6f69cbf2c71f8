from pathlib import Path

import pytest

from headrace.cli import dlqreplay, dlqshow
from headrace.cli.output import printable
from headrace.config import Config
from headrace.deadletters import ReadLetter
from headrace.errors import ConfigError, TransientError
from headrace.replays import Journal, mark
from headrace.tools import resend
from headrace.tools.resend import Fate, Result, Wish, judge, run

KEY, OTHER = b"k" * 16, b"o" * 16


def test_what_devices_send_does_not_steer_the_terminal() -> None:
    assert printable("\x1b[31mred\x9b\n") == "\\x1b[31mred\\x9b\\n"
    assert dlqshow.excerpt(b'{"a":\n"\xc3\xa9"}') == '{"a":\n"é"}'
    assert dlqshow.excerpt(b"a\tb\r\n") == "a\\tb\\r\n"
    assert "\x1b" not in dlqshow.excerpt(b"\x1b[2J text")


def test_what_is_no_text_is_shown_in_hexadecimal_beside_its_letters() -> None:
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
def test_a_time_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--since"):
        dlqreplay._since(text)


def test_a_time_without_a_zone_is_utc() -> None:
    assert dlqreplay._since("2023-11-14T22:13:20") == dlqreplay._since("2023-11-14T22:13:20Z") == 1_700_000_000_000
    assert dlqreplay._since("2h") - dlqreplay._since("3h") == pytest.approx(3_600_000, abs=1000)


def test_a_letter_is_replayed_when_cleaning_is_past_all_its_readings() -> None:
    places = [("imu.raw", 0, 5), ("imu.raw", 1, 2)]
    fates = []
    for passed in (
        {},
        {("imu.raw", 0): 6},
        {("imu.raw", 0): 6, ("imu.raw", 1): 2},
        {("imu.raw", 0): 6, ("imu.raw", 1): 3},
    ):
        result = Result(KEY, 1, Fate.WAITING, to=places)
        judge([result], passed, Journal())
        fates.append(result.fate)
    assert fates == [Fate.WAITING] * 3 + [Fate.REPLAYED]


def test_a_newer_letter_says_why_it_was_refused_again() -> None:
    headers = dict([mark(KEY, 2), ("reason", b"out_of_range"), ("detail", b"too hot")])
    journal = Journal({OTHER: ReadLetter(OTHER, b"", headers, 0, 0, 0)}, newer={(KEY, 2): [OTHER]})
    result = Result(KEY, 2, Fate.WAITING, to=[("imu.raw", 0, 5)])
    judge([result], {("imu.raw", 0): 6}, journal)
    assert (result.fate, result.reason, result.detail, result.became) == (
        Fate.REFUSED_AGAIN, "out_of_range", "too hot", [OTHER],
    )  # fmt: skip


@pytest.mark.parametrize("letters", [1, 5000])
def test_a_replay_that_ends_before_it_is_asked_says_why(letters: int, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("nonsense: 1\n")
    wish = Wish([b"%016d" % n for n in range(letters)], again=False, dry_run=True)
    with pytest.raises(ConfigError, match="nonsense: unknown key"):
        run(Config(), wish, tmp_path / "wrong.yaml", 0, lambda _done, _what: None)


def test_what_was_sent_is_told_also_where_kafka_goes_before_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> dict[tuple[str, int], int]:
        raise TransientError("Kafka is away")

    answer = {"key": "aa", "number": 1, "outcome": "sent", "readings": 1, "letters": 0, "to": [["imu.raw", 0, 7]]}
    monkeypatch.setattr(resend, "_bridge", lambda *_: [answer])
    monkeypatch.setattr(resend, "_passed", away)
    (result,) = run(Config(), Wish([b"\xaa"], again=False, dry_run=False), Path("x"), 0, lambda _done, _what: None)
    assert (result.fate, result.detail, result.good) == (Fate.WAITING, "Kafka is away", False)
