"""Files of Java properties, which Kafka and the registry read."""

from collections.abc import Mapping


def text(settings: Mapping[str, object]) -> str:
    """Settings as the text of a file. Their values hold no backslash, and nothing beyond ASCII."""
    return "".join(f"{key}={value}\n" for key, value in settings.items())
