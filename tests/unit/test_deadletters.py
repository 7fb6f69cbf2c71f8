from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import Letter, ReadLetter
from headrace.errors import PoisonError, Reason

ERROR = PoisonError(Reason.WRONG_TYPE, "ax: a number is expected, not 'high'", field="ax", value="high")
SOURCE: dict[str, str | int] = {"mqtt_topic": "sensors/a/imu", "index": 0}


def letter(value: bytes, identity: bytes = b"") -> Letter:
    return deadletters.letter(ERROR, value, stage="bridge", stream="imu", source=SOURCE, identity=identity)


def test_the_key_is_the_sources_and_not_the_moments() -> None:
    assert letter(b"x").key == letter(b"x").key
    assert letter(b"x", b"1").key != letter(b"x", b"2").key


def test_a_letter_says_where_and_why() -> None:
    headers = dict(letter(b"x").headers)
    assert headers["reason"] == b"wrong_type"
    assert headers["field"] == b"ax"
    assert headers["detail"] == str(ERROR).encode()
    assert headers["source"] == b'{"index":0,"mqtt_topic":"sensors/a/imu"}'


def test_a_letter_too_large_for_the_topic_is_stored_and_points_there() -> None:
    cfg = Config()
    stored: dict[str, bytes] = {}
    small = letter(b"x" * cfg.max_message_bytes)
    assert deadletters.shelve(cfg, small, stored.__setitem__) is small
    large = letter(b"x" * (cfg.max_message_bytes * 5))
    pointing = deadletters.shelve(cfg, large, stored.__setitem__)
    where = dict(pointing.headers)["pointer"].decode()
    assert stored == {where: large.value}
    assert (pointing.key, pointing.value) == (large.key, b"")


def test_an_originals_headers_hide_neither_the_letter_nor_its_bytes() -> None:
    foreign = [(deadletters.NOTE, b"replay"), ("pointer", b"somewhere/else"), ("size", b"1"), ("mine", b"kept")]
    made = deadletters.letter(ERROR, b"x", stage="clean", stream="imu", source=SOURCE, original=foreign)
    assert [h for h in made.headers if h in foreign] == [("mine", b"kept")]


def test_a_source_that_is_no_json_is_none() -> None:
    assert ReadLetter(b"k", b"", {"source": b"\xff{"}, 0, 0, 0).source == {}
