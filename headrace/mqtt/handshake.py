"""Connect to the MQTT broker: the socket, TLS, CONNECT and CONNACK, and what can go wrong with each."""

import asyncio
import os
import ssl

from headrace.config.connect import Mqtt
from headrace.errors import ConfigError, TransientError
from headrace.identity import tls
from headrace.mqtt import packets
from headrace.mqtt.connection import CHUNK, Connection
from headrace.mqtt.packets import ConnAckPacket, Session

CONNECT_SECONDS = 10.0


async def connect(mqtt: Mqtt, session: Session) -> Connection:
    """A connection whose CONNACK has come.

    TransientError: the broker is away, busy, or does not answer. ConfigError: it refuses the client, or TLS can't be
    set up.
    """
    context = tls.client_context(mqtt.tls, "mqtt.tls")
    where = f"MQTT broker {mqtt.host}:{mqtt.port}"
    writer = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(mqtt.host, mqtt.port, ssl=context, limit=CHUNK)
            return await _introduce(reader, writer, mqtt, session, where)
    except TimeoutError:
        error: Exception = TransientError(f"{where}: no answer within {CONNECT_SECONDS:.0f} s; {_question(mqtt)}")
    except (ConfigError, TransientError) as e:
        error = e
    except (ConnectionResetError, ssl.SSLError) as e:
        names = "mqtt.tls", "mqtt.host"
        refused = await asyncio.to_thread(tls.refused, e, mqtt.host, mqtt.port, mqtt.tls, *names)
        words = f"it broke off ({e.strerror or e}); {_question(mqtt)}"
        error = ConfigError(f"{where}: {refused}") if refused else TransientError(f"{where}: {words}")
    except OSError as e:  # asyncio's own words for it repeat the address
        why = os.strerror(e.errno) if e.errno and e.errno > 0 else e.strerror or e
        error = TransientError(f"{where}: {why}. Start it, or correct mqtt.host and mqtt.port")
    except BaseException:
        if writer is not None:
            writer.transport.abort()
        raise
    if writer is not None:
        writer.transport.abort()
    raise error from None


async def _introduce(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mqtt: Mqtt, session: Session, where: str
) -> Connection:
    """Send CONNECT and take the CONNACK."""
    password = mqtt.password.get_secret_value().encode() if mqtt.password else None
    writer.write(packets.connect(session, mqtt.username, password))
    frames = packets.frames(session)
    found: list[packets.Packet] = []
    while not found:
        data = await reader.read(CHUNK)
        if not data:
            raise TransientError(f"{where}: it closed the connection without an answer; {_question(mqtt)}")
        found = frames.feed(data)
    answer, *early = found  # messages may come in the same bytes
    if not isinstance(answer, ConnAckPacket):
        raise TransientError(f"{where}: it answered with {type(answer).__name__} and not with a CONNACK")
    return Connection(reader, writer, session, packets.terms(answer, session, where), frames, early)


def _question(mqtt: Mqtt) -> str:
    """What to check about a server that does not talk as expected."""
    return f"is this an MQTT 5 listener {'with' if mqtt.tls.enabled else 'without'} TLS? See mqtt.port and mqtt.tls"
