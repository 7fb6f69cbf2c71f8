"""What devices do at the broker, counted over the last minute: from its log, and from the messages that it takes.

Who is over a limit is reported to hub, which judges. Names of rules are those of headrace.config.behaviour.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import NamedTuple

from headrace.config import Config, identities
from headrace.config.identities import Spoken
from headrace.protocol import filters
from headrace.protocol.names import is_identity

MINUTE, STEP = 60.0, 5.0  # seconds: the window, and how far it moves at once
LOGIN_SECONDS = 10.0  # a connection that is no client's by then did not get in
_TOPICS, _WAITING = 50_000, 20_000  # remembered at most
_STAMP = r"(?:\d[0-9T:.+-]*: )?"
_CONNECTION = re.compile(_STAMP + r"New connection from (\S+):(\d+) on port (\d+)\.")
_CLIENT = re.compile(_STAMP + r"New client connected from (\S+):(\d+) as (.+) \(p\d+, c\d, k\d+(?:, u'(.*)')?\)\.")
_SUBSCRIBED = re.compile(_STAMP + r"(\S+) \d (.+)", re.DOTALL)

Key = tuple[str, str]  # rule, and who: a device or gateway, or an address


class Fact(NamedTuple):
    """How much of what a rule counts somebody did in the last minute. `who`: an identity, or an address (refused)."""

    rule: str
    who: str
    value: int


class Counts:
    """Sums over the last minute, of those rules that have a limit. Times are seconds that never go back."""

    def __init__(self, limits: dict[str, int]) -> None:
        self._limits = limits
        self._steps: deque[tuple[float, dict[Key, int]]] = deque()
        self._sums: dict[Key, int] = {}
        self._over: set[Key] = set()

    def add(self, rule: str, who: str, amount: int, now: float) -> bool:
        """Count; True where `who` has just gone over the rule's limit."""
        limit = self._limits.get(rule)
        if limit is None:
            return False
        if not self._steps or now - self._steps[-1][0] >= STEP:
            self.forget(now)
            self._steps.append((now, {}))
        key, step = (rule, who), self._steps[-1][1]
        step[key] = step.get(key, 0) + amount
        total = self._sums[key] = self._sums.get(key, 0) + amount
        if total <= limit or key in self._over:
            return False
        self._over.add(key)
        return True

    def forget(self, now: float) -> None:
        """Leave out what is older than a minute."""
        while self._steps and now - self._steps[0][0] >= MINUTE:
            for key, amount in self._steps.popleft()[1].items():
                left = self._sums[key] - amount
                if left:
                    self._sums[key] = left
                else:
                    del self._sums[key]
                if left <= self._limits[key[0]]:
                    self._over.discard(key)

    def reset(self, who: str) -> None:
        """Leave out all that somebody has done so far."""
        for counted in (self._sums, *(step for _, step in self._steps)):
            for rule in self._limits:
                counted.pop((rule, who), None)
        self._over = {key for key in self._over if key[1] != who}

    def over(self) -> list[Fact]:
        """All who are over a limit now."""
        return [Fact(rule, who, self._sums[rule, who]) for rule, who in sorted(self._over)]


class Arrivals:
    """Tells from the broker's log who comes in, and from where somebody does not get in.

    `shut`: whom hub has shut out. One who comes in all the same was let in again, and counts anew.
    """

    def __init__(self, counts: Counts, services_port: int) -> None:
        self._counts, self._services = counts, services_port
        self.shut: set[str] = set()
        self._waiting: OrderedDict[tuple[str, str], float] = OrderedDict()  # address and port: since when

    def take(self, line: str, now: float) -> bool:
        """Look at a line of the log; True where somebody has gone over a limit."""
        if found := _CONNECTION.fullmatch(line):
            if int(found[3]) != self._services and len(self._waiting) < _WAITING:
                self._waiting[found[1], found[2]] = now
            return False
        if found := _CLIENT.fullmatch(line):
            self._waiting.pop((found[1], found[2]), None)
            # At the listeners of devices the client id is always the user's name.
            if found[3] == found[4] and is_identity(found[3]):
                if found[3] in self.shut:
                    self.shut.remove(found[3])
                    self._counts.reset(found[3])
                return self._counts.add("connects", found[3], 1, now)
        return False

    def forget(self) -> None:
        """Lines of the log were missed: who is waited for may have come in."""
        self._waiting.clear()

    def due(self, now: float) -> bool:
        """Count those that did not get in; True where an address has gone over the limit."""
        over = False
        while self._waiting and now - next(iter(self._waiting.values())) >= LOGIN_SECONDS:
            (address, _), _ = self._waiting.popitem(last=False)
            over = self._counts.add("refused", address, 1, now) or over
        return over


def subscriber(line: str) -> str:
    """Which device has subscribed to something, by a line of the broker's log; empty where it is none."""
    found = _SUBSCRIBED.fullmatch(line)
    return found[1] if found is not None and is_identity(found[1]) else ""


class Topics:
    """Tells whose message a topic brings, as the access file of devices has it (headrace/operate/mqttaccess.py).

    `filters`: what to subscribe to. A message that matches several comes once for each, and counts once.
    """

    def __init__(self, config: Config) -> None:
        routed = [*identities.routed(config), *identities.heard(config)]
        spoken = [*routed, *identities.unrouted(config)]
        self._spoken = [s for i, s in enumerate(spoken) if not _covered(s, spoken, i)]
        self._routed = routed
        self._kept = list(identities.keeping(config))
        self.filters = [s.filter.pattern for s in self._spoken]
        self._known: dict[str, tuple[int, str, bool] | None] = {}

    def keeps(self, topic: str) -> bool:
        """Whether a route wants what the broker retains of the topic."""
        return any(f.matches(topic) for f in self._kept)

    def of(self, topic: str) -> tuple[int, str, bool] | None:
        """Which of `filters` is the first that matches, who it is, and whether a route takes it. None: nobody's."""
        try:
            return self._known[topic]
        except KeyError:
            if len(self._known) >= _TOPICS:
                self._known.clear()
            found = self._known[topic] = self._look(topic)
            return found

    def _look(self, topic: str) -> tuple[int, str, bool] | None:
        found = [i for i, s in enumerate(self._spoken) if s.filter.matches(topic)]
        who = {self._spoken[i].identity(topic) for i in found}
        if len(who) != 1 or not is_identity(one := who.pop()):
            return None  # nobody's, or where two may publish: it can't be told who did
        return found[0], one, any(r.filter.matches(topic) for r in self._routed)


def _covered(one: Spoken, others: Iterable[Spoken], at: int) -> bool:
    """Whether another filter brings all that this one does; of two that are equal, the first stays."""
    return any(
        i != at
        and o.level == one.level
        and filters.covers(o.filter, one.filter)
        and (i < at or not filters.covers(one.filter, o.filter))
        for i, o in enumerate(others)
    )
