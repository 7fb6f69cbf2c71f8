"""Telegraf: MQTT to Kafka. It passes bytes through.

It does less than our bridge: it does not read the payload, so it makes no Avro, checks no contract, has no dead
letters, no event id, no provenance of a reading. An array or a packet goes on as one message, its readings not taken
apart. It does more: a tag of the topic for each message, and a buffer for several outputs.
"""

from pathlib import Path

from bench.load import forget
from bench.peers import install
from bench.sides import Bench, Side

TOPIC = "bench-telegraf"
WORDS = __doc__.split("\n\n")[1].replace("\n", " ") if __doc__ else ""


def telegraf(bench: Bench, token: str) -> Side:
    """It, with a session and topics of its own. It is ready once it has said that it is connected."""
    bench.topic(TOPIC)
    mqtt, kafka = bench.servers.mqtt, bench.servers.kafka
    assert kafka.sasl is not None
    assert kafka.sasl.password is not None
    assert mqtt.password is not None
    log, client = bench.folder / "telegraf.log", f"telegraf-{token}"
    env = {
        "MQTT": f"{mqtt.host}:{mqtt.port}", "MQTT_USER": mqtt.username or "", "TOPICS": f"bench/{token}/#",
        "MQTT_PASSWORD": mqtt.password.get_secret_value(), "CLIENT_ID": client, "KAFKA": kafka.bootstrap,
        "KAFKA_TOPIC": TOPIC, "KAFKA_USER": kafka.sasl.username,
        "KAFKA_PASSWORD": kafka.sasl.password.get_secret_value(),
    }  # fmt: skip
    before = log.stat().st_size if log.is_file() else 0
    config = Path(__file__).with_name("telegraf.conf")

    def ready() -> bool:
        return log.is_file() and b"Connected [" in log.read_bytes()[before:]

    argv = [str(install.telegraf()), "--config", str(config)]
    return Side("telegraf", argv, ready, lambda: bench.ends(TOPIC), env, lambda: forget(mqtt, client))
