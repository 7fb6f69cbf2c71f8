"""Several bridges that share the messages of a broker, by MQTT 5's shared subscriptions (section 4.8.2). Pure."""

from collections.abc import Iterator

from headrace.config import Config

SHARE = "$share"  # first level of a shared subscription's filter; its group's name is the second
ORDER = (
    "bridge.shared_group: the broker deals a device's messages to several bridges, so its readings may be stored in "
    "another order than that of sending"
)


def shared(group: str, pattern: str) -> str:
    """What to subscribe to so that the members of `group` share the filter `pattern`; no group: the filter itself."""
    return f"{SHARE}/{group}/{pattern}" if group else pattern


def problems(config: Config) -> Iterator[str]:
    """In words, what is wrong with the sharing of a configuration."""
    if config.bridge.leave and not config.bridge.shared_group:
        yield (
            "bridge.leave: nobody would take what is published until the next start. It is for members of a "
            "bridge.shared_group"
        )
