"""The publisher that believes the bridge's receipts, and not the broker."""

import mqtt5
import pytest

from headrace.config.connect import Mqtt
from headrace.errors import ConfigError
from headrace.simulation.device import Publisher
from headrace.simulation.unreceipted import Unreceipted
from tests.unit.toy_broker import Broker, against


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.simulation.unreceipted.FIRST_SECONDS", 0.02)
    monkeypatch.setattr("headrace.simulation.device._LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
def test_with_receipts_a_message_is_sent_until_it_is_told_of_and_heard_of_once() -> None:
    broker = Broker(tell=lambda n: None if n < 4 else b'{"status":"stored"}')  # it takes all
    heard: list[bytes] = []
    said: list[str] = []

    async def act(mqtt: Mqtt) -> None:
        publisher = Publisher(
            mqtt, "dev-1", receipts=True, prefix="told/", heard=lambda _, p: heard.append(p), notify=said.append
        )
        async with publisher:
            for i in range(5):
                await publisher.send("a", b"%d" % i)
            await publisher.drain()
            assert (publisher.in_flight, publisher.acknowledged, publisher.resent) == (0, 5, 3)

    against(broker, act)
    assert broker.subscribed == ["told/dev-1"]
    assert heard == [b"3", b"4", b"0", b"1", b"2"]
    assert [p for _, p in broker.got] == [b"0", b"1", b"2", b"3", b"4", b"0", b"1", b"2"]
    assert len(said) == 1


@pytest.mark.usefixtures("impatient")
def test_with_receipts_the_broker_s_word_and_anybody_else_s_do_not_count() -> None:
    told = iter([b"not JSON", b"[]", None, b'{"status":"dead-letter","reason":"malformed"}'])
    broker = Broker(tell=lambda _: next(told, None), reason=mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS)

    async def act(mqtt: Mqtt) -> None:
        async with Publisher(mqtt, "dev-1", receipts=True) as publisher:
            await publisher.send("a", b"x")
            await publisher.drain()
            assert (publisher.acknowledged, publisher.dead_letters) == (1, {"malformed": 1})

    against(broker, act)
    assert len(broker.got) == 4


@pytest.mark.usefixtures("impatient")
def test_with_receipts_a_lost_connection_is_subscribed_anew_and_what_was_in_flight_repeated() -> None:
    broker = Broker(hang_up_after=[3], unacknowledged=3, tell=lambda n: None if n <= 3 else b'{"status":"stored"}')

    async def act(mqtt: Mqtt) -> None:
        async with Publisher(mqtt, "d", receipts=True) as publisher:
            for i in range(6):
                await publisher.send("a", b"%d" % i)
            await publisher.drain()
            assert publisher.acknowledged == 6

    against(broker, act)
    assert broker.subscribed == ["receipts/d"] * 2
    assert {p for _, p in broker.got} == {b"%d" % i for i in range(6)}


def test_with_receipts_what_the_broker_will_never_take_is_given_up() -> None:
    async def act(mqtt: Mqtt) -> None:
        async with Publisher(mqtt, "d", receipts=True) as publisher:
            await publisher.send("a", b"x")
            await publisher.drain()
            assert (publisher.refused, publisher.acknowledged) == ({0x87: 1}, 0)

    against(Broker(reason=mqtt5.PubAckReasonCode.NOT_AUTHORIZED, tell=lambda _: None), act)


def test_receipts_need_mqtt_5_a_prefix_and_the_right_to_hear_them() -> None:
    with pytest.raises(ConfigError, match="need MQTT 5"):
        Publisher(Mqtt(), "d", receipts=True, version=4)
    with pytest.raises(ConfigError, match=r"bridge\.receipts"):
        Publisher(Mqtt(), "d", receipts=True, prefix="")

    async def act(mqtt: Mqtt) -> None:
        with pytest.raises(ConfigError, match="refuses the subscription to receipts/d"):
            async with Publisher(mqtt, "d", receipts=True):
                pass

    against(Broker(grant=mqtt5.SubAckReasonCode.NOT_AUTHORIZED), act)


def test_a_message_without_a_receipt_is_due_after_twice_the_time_each_time() -> None:
    now = [0.0]
    untold = Unreceipted(lambda: now[0])
    first, second = untold.add("a", b"12"), untold.add("a", b"345")
    assert (len(untold), untold.bytes) == (2, 5)
    assert untold.remove(first) == ("a", b"12")
    assert untold.remove(first) is None
    due = []
    for when in range(300):
        now[0] = float(when)
        due += [(when, *found) for found in untold.due()]
    assert due == [(when, second, "a", b"345") for when in (5, 15, 35, 75, 135, 195, 255)]
