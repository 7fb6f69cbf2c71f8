"""Several bridges that share the messages of a broker, by MQTT 5's shared subscriptions (section 4.8.2)."""

SHARE = "$share"  # first level of a shared subscription's filter; its group's name is the second
ORDER_WARNING = (
    "bridge.shared_group: the broker deals a device's messages to several bridges, so its readings may be stored in "
    "another order than they were sent in"
)


def shared(group: str, pattern: str) -> str:
    """The filter by which the members of `group` share the messages of `pattern`; `pattern` itself without a group."""
    return f"{SHARE}/{group}/{pattern}" if group else pattern
