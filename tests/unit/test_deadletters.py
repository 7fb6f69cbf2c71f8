import pytest

from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import KafkaSource, Letter, MqttSource, ReadLetter, Stage
from headrace.errors import PoisonError, Reason
from headrace.protocol.wire import record_bytes

ERROR = PoisonError(Reason.WRONG_TYPE, "ax: a number is expected, not 'high'", field="ax", value="high")
MQTT = MqttSource("sensors/a/imu", 0, b"payload")
KAFKA = KafkaSource("imu.raw", "id", 2, 1, 77)


def letter(value: bytes | None, source: deadletters.making.Source = MQTT, stream: str = "imu") -> Letter:
    return deadletters.letter(ERROR, value, stage=Stage.BRIDGE, stream=stream, source=source)


def test_the_key_is_the_sources_and_not_the_moments() -> None:
    assert letter(b"x").key == letter(b"x").key == letter(b"y").key
    made = [
        letter(b"x"),
        letter(b"x", MQTT._replace(payload_id=b"another")),
        letter(b"x", MQTT._replace(element=1)),
        letter(b"x", MQTT._replace(topic="sensors/b/imu")),
        letter(b"x", stream="also"),
        letter(b"x", KAFKA),
        letter(b"x", KAFKA._replace(topic_id="another")),
        letter(b"x", KAFKA._replace(partition=9)),
        letter(b"x", KAFKA._replace(epoch=9)),
        letter(b"x", KAFKA._replace(offset=9)),
    ]
    assert len({it.key for it in made}) == len(made)


def test_a_letter_has_the_key_that_earlier_versions_gave_it() -> None:
    assert letter(b"x").key.hex() == "cbd827ef1d447d214f41214d345561e7"
    assert letter(b"x", KAFKA).key.hex() == "9eed75260f3a95eb0db10c2041aa0ad4"


def test_a_letter_says_where_and_why() -> None:
    headers = dict(letter(b"x").headers)
    assert headers["reason"] == b"wrong_type"
    assert headers["field"] == b"ax"
    assert headers["detail"] == str(ERROR).encode()
    assert headers["stage"] == b"bridge"
    assert headers["source"] == b'{"index":0,"mqtt_topic":"sensors/a/imu"}'
    place = b'{"epoch":1,"index":0,"offset":77,"partition":2,"topic":"imu.raw","topic_id":"id"}'
    assert dict(letter(b"x", KAFKA).headers)["source"] == place


def test_a_message_without_a_value_is_a_letter_without_bytes() -> None:
    assert letter(None).value == b""


@pytest.mark.parametrize(("beyond", "fits"), [(0, True), (1, False)])
def test_a_letter_fits_up_to_the_topics_limit_and_no_further(beyond: int, fits: bool) -> None:
    cfg = Config()
    empty = letter(b"")
    room = deadletters.max_letter_bytes(cfg) - record_bytes(empty.key, b"", empty.headers)
    assert deadletters.fits(cfg, letter(b"x" * (room + beyond))) is fits


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
    foreign = [(deadletters.NOTE, b"redrive"), ("pointer", b"somewhere/else"), ("size", b"1"), ("mine", b"kept")]
    made = deadletters.letter(ERROR, b"x", stage=Stage.CLEAN, stream="imu", source=KAFKA, original=foreign)
    assert [h for h in made.headers if h in foreign] == [("mine", b"kept")]


def test_a_header_of_the_original_that_has_no_value_is_kept_empty() -> None:
    made = deadletters.letter(ERROR, b"x", stage=Stage.CLEAN, stream="imu", source=KAFKA, original=[("mine", None)])
    assert dict(made.headers)["mine"] == b""


def test_a_source_that_is_no_json_is_empty() -> None:
    assert ReadLetter(b"k", b"", {"source": b"\xff{"}, 0, 0, 0).source == {}
