"""What a device is told with its certificate: where the broker is, and what it may publish."""

from typing import Any, NamedTuple

from headrace.config import Config, identities
from headrace.errors import ConfigError
from hub.model import Kind


class Topic(NamedTuple):
    """The levels of a filter, which of them is the device, and whether it is for gateways alone."""

    levels: tuple[str, ...]
    level: int
    gateway: bool


class Welcome(NamedTuple):
    """`broker`: host and port of the listener for certificates, and the authority of its own certificate in PEM.

    Each is null where it is not known.
    """

    broker: dict[str, Any]
    topics: tuple[Topic, ...]

    def topics_of(self, device: str, kind: str) -> list[str]:
        """The topics that a device or gateway may publish to; `+` and `#` as in a filter."""
        mine = [t for t in self.topics if kind == Kind.GATEWAY or not t.gateway]
        return list(dict.fromkeys("/".join([*t.levels[: t.level], device, *t.levels[t.level + 1 :]]) for t in mine))


NOWHERE = Welcome({"host": None, "port": None, "authority": None}, ())


def of(config: Config) -> Welcome:
    """What the configuration says of it. ConfigError for a file that can't be read."""
    there = config.mqtt.devices
    host, _, port = (there.certificates if there else "").rpartition(":")
    try:
        authority = there.ca_file.read_text(encoding="utf-8") if there and there.ca_file else None
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or "not text"
        raise ConfigError(f"mqtt.devices.ca_file: {why}. Give the authority of the broker's certificate") from None
    known = host not in {"", "0.0.0.0", "::"}  # noqa: S104 - compared with
    broker = {"host": host if known else None, "port": int(port) if port else None, "authority": authority}
    routed = identities.routed(config)
    return Welcome(broker, tuple(Topic(r.filter.levels, r.level, r.gateway) for r in routed))
