"""The MQTT client against a scripted broker on a real socket. Packets are written out in bytes: an independent view."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest
from pydantic import SecretStr

from headrace import mqtt
from headrace.config.connect import Mqtt
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.mqtt import Connection, Session, Subscription, connection

SESSION = Session("bridge-1", 3600, 30, 100, 1000)
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CONNACK = b"\x20\x03\x00\x00\x00"
RESUMED = b"\x20\x03\x01\x00\x00"


def publish(packet_id: int) -> bytes:
    body = b"\0\3a/b" + struct.pack(">H", packet_id) + b"\0{}"
    return bytes([0x32, len(body)]) + body


def talk(script: Script, use: Callable[[Connection], Awaitable[None]], **settings: object) -> None:
    """Run `use` on a connection to a broker that follows `script`."""

    async def main() -> None:
        failure: list[BaseException] = []
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await script(reader, writer)
            except ConnectionError:
                pass  # the client may hang up first
            except BaseException as e:  # noqa: BLE001 - shown below
                failure.append(e)
            finally:
                writer.close()
                ended.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            connection = await mqtt.connect(Mqtt.model_validate({"port": port, **settings}), SESSION)
            try:
                await use(connection)
            finally:
                connection.abort()
            await asyncio.wait_for(ended.wait(), 5)
        finally:
            server.close()
            await server.wait_closed()
        assert not failure, failure

    asyncio.run(main())


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    assert head[1] < 128
    return head + await reader.readexactly(head[1])


def answering(answer: bytes, then: Script | None = None) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(answer)
        if then is not None:
            await then(reader, writer)

    return script


async def receive_for_ever(connection: Connection) -> None:
    while True:
        await connection.receive()


async def nothing(_: Connection) -> None:
    """Connecting was enough."""


def test_connect_says_who_it_is_keeps_the_session_and_bounds_what_comes() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_packet(reader))
        writer.write(RESUMED)

    async def use(connection: Connection) -> None:
        assert connection.terms.session_present

    talk(script, use, username="me", password=SecretStr("secret"))
    (packet,) = seen
    assert packet[2:9] == b"\0\4MQTT\5"
    assert packet[9] == 0b1100_0000, "username, password, and no clean start"
    assert packet[10:12] == b"\0\x1e", "keepalive 30 s"
    assert b"\x11\0\0\x0e\x10" in packet, "session expiry 3600 s"
    assert b"\x21\0\x64" in packet, "receive maximum 100"
    assert b"\x27" + struct.pack(">I", 1000 + mqtt.MAX_TOPIC_AND_PROPERTIES) in packet, "maximum packet size"
    assert packet.endswith(b"\0\x08bridge-1\0\2me\0\6secret")


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (0x86, ConfigError, "mqtt.password"),
        (0x87, ConfigError, "let the user in"),
        (0x85, ConfigError, "client id"),
        (0x88, TransientError, "server unavailable"),
        (0x89, TransientError, "server busy"),
    ],
)
def test_a_refusal_is_a_config_error_where_only_a_person_can_help(
    code: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        talk(answering(bytes([0x20, 3, 0, code, 0])), nothing)


@pytest.mark.parametrize("answer", [b"", b"\x20\x02\x00\x01", b"HTTP/1.1 400 Bad Request\r\n", b"\xd0\x00"])
def test_a_server_that_is_not_an_mqtt_5_broker_is_recognised(answer: bytes) -> None:
    with pytest.raises(TransientError, match="MQTT broker"):
        talk(answering(answer), nothing)


def test_nobody_there_is_transient() -> None:
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1: "):
        asyncio.run(mqtt.connect(Mqtt(port=1), SESSION))


def test_a_broker_with_qos_0_only_is_refused() -> None:
    with pytest.raises(ConfigError, match="QoS 0 only"):
        talk(answering(b"\x20\x05\x00\x00\x02\x24\x00"), nothing)


def test_messages_come_in_order_and_acknowledgements_go_in_one_piece() -> None:
    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(publish(1) + publish(2) + publish(65_535))
        assert await reader.readexactly(12) == b"\x40\2\0\1\x40\2\0\2\x40\2\xff\xff"

    async def use(connection: Connection) -> None:
        got: list[int | None] = []
        while len(got) < 3:
            got += [p.packet_id for p in await connection.receive()]
        assert got == [1, 2, 65_535]
        connection.acknowledge(i or 0 for i in got)
        with pytest.raises(TransientError, match="closed the connection"):
            await connection.receive()

    talk(answering(CONNACK, broker), use)


def test_messages_that_come_with_the_connack_are_not_lost() -> None:
    async def use(connection: Connection) -> None:
        assert [p.packet_id for p in await connection.receive()] == [9]

    talk(answering(RESUMED + publish(9)), use)


def test_a_closed_connection_acknowledges_nothing() -> None:
    received: list[bytes] = []

    async def broker(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read(100))

    async def use(connection: Connection) -> None:
        connection.abort()
        connection.acknowledge([1, 2])

    talk(answering(CONNACK, broker), use)
    assert b"".join(received) == b""


def test_subscribing_asks_for_qos_1_new_retained_messages_only_and_an_identifier() -> None:
    seen: list[bytes] = []

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_packet(reader))
        writer.write(b"\x90\x04\x00\x01\x00\x01")
        seen.append(await read_packet(reader))
        writer.write(b"\xb0\x04\xff\xff\x00\x00")

    async def use(connection: Connection) -> None:
        connection.subscribe([Subscription("a/+", 5)], ["old/+"])
        assert not connection.subscribed
        while not connection.subscribed:
            assert await connection.receive() == []

    talk(answering(CONNACK, broker), use)
    assert seen[1] == b"\xa2\x0a\xff\xff\0\0\5old/+", "last: a message between the two comes twice, and not never"
    options = 0b01_0_0_01  # retain handling 1, retain as published off, no local off, QoS 1
    assert seen[0] == b"\x82\x0b\0\1\2\x0b\5\0\3a/+" + bytes([options])


def test_a_broker_without_shared_subscriptions_is_refused_where_they_are_wanted() -> None:
    async def use(connection: Connection) -> None:
        connection.subscribe([Subscription("a/#", 1)])
        with pytest.raises(ConfigError, match="shared subscriptions"):
            connection.subscribe([Subscription("$share/g/a/#", 1)])

    talk(answering(b"\x20\x05\x00\x00\x02\x2a\x00"), use)


def test_unsubscribing_waits_for_the_answer_and_goes_on_taking_what_comes() -> None:
    seen: list[bytes] = []

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_packet(reader))
        writer.write(publish(1) + b"\xb0\x05\xff\xfe\x00\x11\x00")
        assert await read_packet(reader) == b"\xc0\0"
        writer.write(publish(2) + b"\xd0\0" + publish(3))

    async def use(connection: Connection) -> None:
        got: list[int | None] = []

        async def read() -> None:
            while True:
                got.extend(p.packet_id for p in await connection.receive())

        reading = asyncio.ensure_future(read())
        await connection.unsubscribe(["$share/g/a/#", "b"])
        assert got == [1]
        await connection.ping()
        assert got[:2] == [1, 2]
        reading.cancel()

    talk(answering(RESUMED, broker), use)
    assert seen == [b"\xa2\x14\xff\xfe\0\0\x0c$share/g/a/#\0\1b"]


def test_a_broker_that_refuses_to_unsubscribe_goes_on_dealing_so_leaving_ends() -> None:
    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(b"\xb0\x04\xff\xfe\x00\x87")

    async def use(connection: Connection) -> None:
        wish = asyncio.ensure_future(connection.unsubscribe(["a"]))
        with pytest.raises(FatalError, match="not authorized"):
            await receive_for_ever(connection)
        wish.cancel()

    talk(answering(RESUMED, broker), use)


def test_the_last_goodbye_ends_the_session() -> None:
    seen: list[bytes] = []

    async def broker(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        seen.append(await read_packet(reader))

    talk(answering(RESUMED, broker), lambda connection: connection.disconnect(forget=True))
    assert seen == [b"\xe0\x07\x00\x05\x11\0\0\0\0"]


def ends(packet: bytes, error: type[Exception], words: str) -> None:
    """A connection on which the broker answers a subscription with `packet` ends with this error."""

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(packet)

    async def use(connection: Connection) -> None:
        connection.subscribe([Subscription("a/#", 1)])
        with pytest.raises(error, match=words):
            await receive_for_ever(connection)

    talk(answering(CONNACK, broker), use)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (0x87, ConfigError, "'a/#': not authorized"),
        (0x97, TransientError, "quota"),
        (0x00, ConfigError, "QoS 0 only for 'a/#'"),
    ],
)
def test_a_refused_subscription_names_the_filter(code: int, error: type[Exception], words: str) -> None:
    ends(bytes([0x90, 4, 0, 1, 0, code]), error, words)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what a panic of the codec leaves
@pytest.mark.parametrize(
    ("packet", "error", "words"),
    [
        (b"\xe0\x02\x8e\x00", FatalError, "took over"),
        (b"\xe0\x02\x8b\x00", TransientError, "server shutting down"),
        (b"\x30\xff\xff\xff\xff\xff", TransientError, "malformed"),
        (b"\x32\x05\x00\x01a\x00\x00", TransientError, "malformed"),
        (b"\x30\x05\x00\x02\xff\xff\x00", TransientError, "malformed"),
        (b"\x30\xff\xff\xff\x7f", TransientError, "the limit is"),
        (b"\xc0\x00", TransientError, "unexpected"),
    ],
)
def test_what_ends_a_connection_says_so(packet: bytes, error: type[Exception], words: str) -> None:
    ends(packet, error, words)


def test_a_silent_broker_is_pinged_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LOOK_SECONDS", 0.02)
    seen: list[bytes] = []

    async def broker(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        seen.append(await reader.readexactly(2))
        await reader.read()

    async def use(connection: Connection) -> None:
        connection.keepalive = 0.15
        reading = asyncio.create_task(connection.receive())
        with pytest.raises(TransientError, match="silent"):
            await connection.keep_alive()
        reading.cancel()

    talk(answering(CONNACK, broker), use)
    assert seen == [b"\xc0\x00"]


def test_silence_counts_for_nothing_while_nobody_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LOOK_SECONDS", 0.02)
    pings: list[bytes] = []

    async def broker(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            pings.append(data)
            if b"\xe0" in data:
                return

    async def use(connection: Connection) -> None:
        connection.keepalive = 0.06
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.keep_alive(), 0.5)
        await connection.disconnect()

    talk(answering(CONNACK, broker), use)
    assert b"".join(pings).count(b"\xc0\x00") > 3
    assert b"".join(pings).endswith(b"\xe0\x07\x00\x05\x11\0\0\x0e\x10"), "goodbye, and the session is kept"
