"""Dead letters: bytes that could not become a reading. Import it as `from headrace import deadletters`."""

from headrace.deadletters.making import (
    NOTE,
    KafkaSource,
    Letter,
    MqttSource,
    Stage,
    fits,
    letter,
    max_letter_bytes,
    shelve,
)
from headrace.deadletters.reading import ReadLetter, content, of_message, read, records

__all__ = [
    "NOTE",
    "KafkaSource",
    "Letter",
    "MqttSource",
    "ReadLetter",
    "Stage",
    "content",
    "fits",
    "letter",
    "max_letter_bytes",
    "of_message",
    "read",
    "records",
    "shelve",
]
