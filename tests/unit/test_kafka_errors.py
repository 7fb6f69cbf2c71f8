"""Which of librdkafka's errors a person must mend, and which pass by themselves."""

import pytest
from confluent_kafka import KafkaError

from headrace.errors import ConfigError, TransientError
from headrace.kafka.errors import translate

BROKER = "sasl_plaintext://127.0.0.1:19746/1: SASL"


@pytest.mark.parametrize(
    "words",
    [
        "OAUTHBEARER mechanism handshake failed: Local: Broker transport failure: broker's supported mechanisms: (n/a)",
        "PLAIN mechanism handshake failed: Local: Broker transport failure: broker's supported mechanisms: (n/a)",
        "PLAIN mechanism handshake failed: Local: Timed out: broker's supported mechanisms: (n/a)",
    ],
)
def test_a_broker_that_goes_away_while_we_log_in_is_waited_for(words: str) -> None:
    found = translate(KafkaError(KafkaError._AUTHENTICATION, f"{BROKER} {words}"), "carrying")
    assert type(found) is TransientError


@pytest.mark.parametrize(
    "words",
    [
        "PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM",
        "authentication error: Authentication failed: Invalid username or password",
    ],
)
def test_a_wrong_password_or_mechanism_must_be_mended(words: str) -> None:
    found = translate(KafkaError(KafkaError._AUTHENTICATION, f"{BROKER} {words}"), "carrying")
    assert type(found) is ConfigError
