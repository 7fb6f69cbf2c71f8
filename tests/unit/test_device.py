"""The publisher against a broker that can refuse, hold back and hang up."""

import asyncio
import socket
from pathlib import Path

import mqtt5
import orjson
import pytest

from headrace.config import Config
from headrace.config.connect import Mqtt
from headrace.errors import ConfigError, TransientError
from headrace.recordings.mapping import Options
from headrace.recordings.replay import plan, send
from headrace.simulation.device import Publisher
from headrace.simulation.fleet import Fleet, run
from tests.unit.toy_broker import Broker, against


def test_messages_arrive_in_order_and_the_window_is_kept() -> None:
    broker = Broker(receive_maximum=50, hold=40)

    async def act(mqtt: Mqtt) -> None:
        async with Publisher(mqtt, "t", window=1000) as publisher:
            for i in range(1000):
                await publisher.send("a", b"%d" % i)
            await publisher.drain()
            assert publisher.acknowledged == 1000
            assert publisher.in_flight == 0

    against(broker, act)
    assert [int(p) for _, p in broker.got] == list(range(1000))
    assert broker.most_in_flight <= 50


def test_what_was_not_acknowledged_is_sent_again_in_order() -> None:
    broker = Broker(hang_up_after=[30, 1, 200], unacknowledged=10)

    async def act(mqtt: Mqtt) -> None:
        async with Publisher(mqtt, "t", window=100) as publisher:
            for i in range(1000):
                await publisher.send("a", b"%d" % i)
            await publisher.drain()
            assert publisher.resent > 0
            assert publisher.acknowledged == 1000

    against(broker, act)
    first_seen = list(dict.fromkeys(int(p) for _, p in broker.got))
    assert first_seen == list(range(1000))
    assert broker.connections == 4


def test_leaving_waits_for_the_last_acknowledgement() -> None:
    broker = Broker(hang_up_after=[5], unacknowledged=5)

    async def act(mqtt: Mqtt) -> None:
        async with Publisher(mqtt, "t") as publisher:
            for i in range(5):
                await publisher.send("a", b"%d" % i)

    against(broker, act)
    assert [int(p) for _, p in broker.got] == [0, 1, 2, 3, 4] * 2


def test_refused_and_unheard_messages_are_counted() -> None:
    for reason, refused, unheard in (
        (mqtt5.PubAckReasonCode.NOT_AUTHORIZED, {0x87: 3}, 0),
        (mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS, {}, 3),
    ):

        async def act(mqtt: Mqtt, refused: dict[int, int] = refused, unheard: int = unheard) -> None:
            async with Publisher(mqtt, "t") as publisher:
                for _ in range(3):
                    await publisher.send("a", b"x")
                await publisher.drain()
                assert publisher.refused == refused
                assert publisher.unheard == unheard

        against(Broker(reason=reason), act)


def test_what_the_broker_took_is_told_and_what_it_refused_is_not() -> None:
    for reason, told in (
        (mqtt5.PubAckReasonCode.SUCCESS, ["0", "1", "2"]),
        (mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS, ["0", "1", "2"]),
        (mqtt5.PubAckReasonCode.QUOTA_EXCEEDED, []),
    ):
        heard: list[tuple[str, bytes]] = []

        async def act(mqtt: Mqtt, heard: list[tuple[str, bytes]] = heard) -> None:
            async with Publisher(mqtt, "t", heard=lambda topic, payload: heard.append((topic, payload))) as publisher:
                for i in range(3):
                    await publisher.send("a", b"%d" % i)

        against(Broker(reason=reason), act)
        assert heard == [("a", text.encode()) for text in told]


def test_mqtt_3_1_1_is_spoken_too() -> None:
    levels: list[int] = []
    heard: list[tuple[str, bytes]] = []

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(2):  # packets under 128 bytes have one byte of length
            body = await reader.readexactly(head[1])
            if head[0] >> 4 == 1:
                levels.append(body[6])
                writer.write(bytes((0x20, 2, 0, 0)))
            elif head[0] >> 4 == 3:
                end = 2 + int.from_bytes(body[:2], "big")
                writer.write(bytes((0x40, 2)) + body[end : end + 2])
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        try:
            mqtt = Mqtt(port=server.sockets[0].getsockname()[1])
            async with Publisher(mqtt, "t", version=4, heard=lambda t, p: heard.append((t, p))) as publisher:
                for i in range(3):
                    await publisher.send("a/b", b"%d" % i)
        finally:
            server.close()

    asyncio.run(main())
    assert levels == [4]
    assert heard == [("a/b", b"0"), ("a/b", b"1"), ("a/b", b"2")]


def test_a_broker_that_lets_nobody_in_is_a_config_error() -> None:
    async def act(mqtt: Mqtt) -> None:
        with pytest.raises(ConfigError, match=r"mqtt\.password"):
            async with Publisher(mqtt, "t"):
                pass

    against(Broker(answer=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD), act)


def test_a_broker_that_is_away_is_waited_for_then_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said: list[str] = []

    async def act() -> None:
        async with Publisher(Mqtt(port=port), "t", patience=0.5, notify=said.append):
            pass

    with pytest.raises(TransientError, match=f"127.0.0.1:{port}"):
        asyncio.run(act())
    assert len(said) == 1


def test_replay_sends_each_row_once_and_notices_equal_rows(tmp_path: Path) -> None:
    lines = ["timestamp,temperature", *(f"{i},{i / 8}" for i in range(100)), "7,0.875", ",5", ""]
    (tmp_path / "room-1.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "room-2.csv").write_text("\n".join(lines), encoding="utf-8")
    broker = Broker(hang_up_after=[50], unacknowledged=3)

    async def act(mqtt: Mqtt) -> None:
        cfg = Config.model_validate(
            {"mqtt": mqtt.model_dump(), "streams": {"environment": {"routes": ["s/{device_id}/env"]}}}
        )
        files = [tmp_path / "room-1.csv", tmp_path / "room-2.csv"]
        plans = plan(cfg, files, "environment", Options(time="timestamp:s"))
        report = await send(cfg, plans, {}, client_id="t")
        assert (report.sent, report.equal) == (202, 2)
        assert report.first_equal == f"{files[0]}:102"
        assert report.left_out == {"no event time": 2}
        assert report.first == {"no event time": f"{files[0]}:103"}

    against(broker, act)
    distinct = dict.fromkeys(broker.got)
    assert len(distinct) == 200
    assert next(iter(distinct)) == ("s/room-1/env", b'{"event_time":0,"temperature":0.0}')


def test_each_device_of_a_recording_has_a_connection_and_a_rate_of_its_own(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i}.5,{'ab'[i % 2]}" for i in range(40))
    (tmp_path / "rooms.csv").write_text(f"timestamp,temperature,room\n{rows}\n,,c\n", encoding="utf-8")
    broker = Broker()

    async def act(mqtt: Mqtt) -> None:
        cfg = Config.model_validate(
            {
                "mqtt": mqtt.model_dump(),
                "streams": {"environment": {"routes": ["s/{device_id}/env"]}},
                "hub": {"behaviour": {"messages": {"most": 2000}}},
            }
        )
        options = Options(time="timestamp:s", device_column="room")
        plans = plan(cfg, [tmp_path / "rooms.csv"], "environment", options)
        assert plans[0][1].devices() == {"a", "b", "c"}
        report = await send(cfg, plans, dict.fromkeys("abc", "secret"), client_id="t")
        assert report.sent == 40
        assert report.seconds > 0.4  # 20 of each device, 33 ms apart

    against(broker, act)
    assert broker.connections == 2  # nothing was sent of c
    for name in "ab":
        assert [p for t, p in broker.got if t == f"s/{name}/env"] == sorted(
            (p for t, p in broker.got if t == f"s/{name}/env"), key=lambda p: orjson.loads(p)["event_time"]
        )


def test_replay_leaves_out_what_the_broker_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text(
        'event_time,sampling_rate,axis,samples\n1,100,x,"[1.5,2]"\n2,100,x,"[' + "1," * 5000 + '1]"\n', encoding="utf-8"
    )
    broker = Broker(packet_maximum=4096)

    async def act(mqtt: Mqtt) -> None:
        cfg = Config.model_validate(
            {"mqtt": mqtt.model_dump(), "streams": {"vibration": {"routes": ["v/{device_id}"]}}}
        )
        report = await send(cfg, plan(cfg, [tmp_path / "v.csv"], "vibration", Options()), {}, client_id="t")
        assert report.sent == 1
        assert report.left_out.total() == 1

    against(broker, act)
    assert broker.got == [("v/v", b'{"event_time":1,"sampling_rate":100,"axis":"x","samples":[1.5,2]}')]


def simulated(fleet: Fleet) -> list[tuple[str, bytes]]:
    broker = Broker()

    async def act(mqtt: Mqtt) -> None:
        streams = {name: {"routes": [f"s/{{device_id}}/{name}"]} for name in ("imu", "environment", "vibration")}
        cfg = Config.model_validate({"mqtt": mqtt.model_dump(), "streams": streams})
        tallies = await run(cfg, fleet)
        assert sum(t.messages for t in tallies.values()) == len(broker.got)

    against(broker, act)
    return broker.got


def test_a_fleet_is_the_same_for_the_same_seed() -> None:
    fleet = Fleet(
        streams=("imu", "environment", "vibration"), devices=2, rate=20, duration=20, samples=64, real_time=False,
        start=1.7e9, defects=True,
    )  # fmt: skip
    one = simulated(fleet)
    assert sorted(one) == sorted(simulated(fleet))
    assert {topic for topic, _ in one} == {
        f"s/sim-{s}-00{n}/{s}" for s in ("imu", "environment", "vibration") for n in (1, 2)
    }
