"""What a device may do in a minute, and what happens when it does more."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from headrace.config.base import Positive, Section

Act = Literal["none", "event", "quarantine"]
Told = Literal["none", "event"]
Count = Annotated[int, Field(ge=0)]


class Bytes(Section):
    """Bytes that a device publishes in a minute."""

    most: Positive = 128 * 1024 * 1024
    action: Act = "quarantine"


class Messages(Section):
    """Messages that a device publishes in a minute."""

    most: Positive = 300_000
    action: Act = "quarantine"


class Connects(Section):
    """Connections that a device makes in a minute."""

    most: Positive = 60
    action: Act = "event"


class Unrouted(Section):
    """Messages of a device in a minute that no route takes, where `bridge.unrouted` reads them."""

    most: Count = 60
    action: Act = "event"


class Subscriptions(Section):
    """Subscriptions of a device in a minute, also to what it may read: the broker keeps each in memory."""

    most: Count = 300
    action: Act = "quarantine"


class Refused(Section):
    """Connections in a minute from one address that do not get in."""

    most: Count = 60
    action: Told = "event"


class Silence(Section):
    """Seconds since an active device was seen last."""

    most: Annotated[int, Field(ge=300)] = 7 * 24 * 3600
    action: Told = "none"


Rule = Bytes | Messages | Connects | Unrouted | Subscriptions | Refused | Silence


class Behaviour(Section):
    """Rules for devices: more than `most` is an event, or the device is quarantined."""

    bytes: Bytes = Bytes()
    messages: Messages = Messages()
    connects: Connects = Connects()
    unrouted: Unrouted = Unrouted()
    subscriptions: Subscriptions = Subscriptions()
    refused: Refused = Refused()
    silence: Silence = Silence()
    quarantines_per_hour: Count = Field(
        10, description="devices that rules may quarantine in an hour; then events only"
    )

    def limits(self) -> dict[str, int]:
        """`most` of each rule that the agent beside the broker looks after, and that is not off."""
        return {name: rule.most for name, rule in self._rules() if name != "silence" and rule.action != "none"}

    def quarantines(self, rule: str) -> bool:
        """Whether a rule wants to quarantine, rather than to tell."""
        return any(name == rule and found.action == "quarantine" for name, found in self._rules())

    def _rules(self) -> Iterator[tuple[str, Rule]]:
        for name in RULES:
            yield name, getattr(self, name)


RULES = tuple(name for name in Behaviour.model_fields if name != "quarantines_per_hour")


def problems(behaviour: Behaviour) -> Iterator[str]:
    """What is wrong with the rules taken together."""
    wanting = [name for name in RULES if behaviour.quarantines(name)]
    if wanting and not behaviour.quarantines_per_hour:
        yield (
            f"hub.behaviour.quarantines_per_hour: with 0 no rule quarantines, and {', '.join(wanting)} should. "
            "Allow some, or set their action to event"
        )
