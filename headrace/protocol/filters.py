"""MQTT topic filters, and the filters of routes, whose levels may capture: `sensors/{device_id}/imu`."""

import re
from dataclasses import dataclass
from functools import cached_property

from headrace.errors import ConfigError

CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
MAX_BYTES = 65_535


@dataclass(frozen=True)
class Filter:
    """A checked filter. `levels` has `+` where the text has a capture; `captures` maps its name to its level."""

    text: str
    levels: tuple[str, ...]
    captures: dict[str, int]

    @cached_property
    def pattern(self) -> str:
        """The filter as MQTT knows it."""
        return "/".join(self.levels)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        first_wild = self.levels[0] in {"+", "#"}
        body = [r"[^/]*" if level == "+" else re.escape(level) for level in self.levels if level != "#"]
        tail = ""
        if self.levels[-1] == "#":
            tail = r"(?:/.*)?" if body else r".*"
        return re.compile((r"(?!\$)" if first_wild else "") + "/".join(body) + tail + r"\Z", re.DOTALL)

    def matches(self, topic: str) -> bool:
        """Whether a topic matches. A wildcard at the first level does not match topics that begin with `$`."""
        return self._regex.match(topic) is not None

    def values(self, topic: str) -> dict[str, str]:
        """What the captures hold in a topic that matches."""
        levels = topic.split("/")
        return {name: levels[i] for name, i in self.captures.items()}


def parse(text: str, where: str, *, captures: bool = True) -> Filter:
    """The filter; ConfigError, beginning with `where` (a key of the configuration), when it is not one."""
    if not text or len(text.encode()) > MAX_BYTES or "\0" in text:
        raise ConfigError(f"{where}: {text[:80]!r} is not an MQTT filter: 1 to {MAX_BYTES} bytes, without NUL")
    if text.startswith("$share/"):
        raise ConfigError(f"{where}: {text}: name the group in bridge.shared_group, and here the filter alone")
    levels = text.split("/")
    names: dict[str, int] = {}
    out = []
    for i, level in enumerate(levels):
        found = CAPTURE.fullmatch(level)
        if found and captures:
            name = found[1]
            if name in names:
                raise ConfigError(
                    f"{where}: {text} captures {name} twice. Name each level differently, or write + for one"
                )
            names[name] = i
            out.append("+")
            continue
        if "{" in level or "}" in level:
            how = (
                "A capture fills a whole level, and its name is a field's"
                if captures
                else "Write + instead of a capture"
            )
            raise ConfigError(f"{where}: {text}: the level {level!r} can't be used. {how}")
        if ("+" in level and level != "+") or ("#" in level and (level != "#" or i < len(levels) - 1)):
            raise ConfigError(f"{where}: {text}: + must fill a level, and # must be the last level")
        out.append(level)
    return Filter(text, tuple(out), names)


def covers(a: Filter, b: Filter) -> bool:
    """Whether every topic that matches `b` matches `a`."""
    x, y = a.levels, b.levels
    if x[0] in {"+", "#"} and y[0].startswith("$"):
        return False
    for i, level in enumerate(x):
        if level == "#":
            return True
        if i >= len(y) or y[i] == "#" or (level not in {"+", y[i]}):
            return False
    return len(x) == len(y)


def overlap(a: Filter, b: Filter) -> bool:
    """Whether some topic matches both."""
    x, y = a.levels, b.levels
    for first, other in ((x[0], y[0]), (y[0], x[0])):
        if first in {"+", "#"} and other.startswith("$"):
            return False
    for i in range(max(len(x), len(y))):
        left = x[i] if i < len(x) else None
        right = y[i] if i < len(y) else None
        if left == "#" or right == "#":
            return True
        if left is None or right is None or (left != right and "+" not in {left, right}):
            return False
    return True
