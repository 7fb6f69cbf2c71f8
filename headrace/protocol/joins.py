"""Captures of a topic joined to one text: `{floor}/{room}`. Different captures never become the same text."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol.filters import CAPTURE


@dataclass(frozen=True)
class Join:
    """A checked template. `names`: the captures in it, in their order."""

    text: str
    names: tuple[str, ...]
    _split: re.Pattern[str]

    def of(self, levels: Mapping[str, str]) -> str:
        """The text for a topic with these captures.

        PoisonError: a capture contains what follows it in the template, so that another topic may have the same text:
        `{floor}-{room}` of a-b and c, and of a and b-c. A slash after each avoids that: no level has one.
        """
        joined = CAPTURE.sub(lambda found: levels[found[1]], self.text)
        split = self._split.fullmatch(joined)
        if split is None or split.groupdict() != {name: levels[name] for name in self.names}:
            words = (
                f"{joined[:80]!r} could be another topic's too: a level has what {self.text} puts behind it, or "
                "nothing. Join with a slash, which no level has"
            )
            raise PoisonError(Reason.BAD_NAME, words, value=joined)
        return joined


def parse(text: str, captures: Collection[str], where: str) -> Join:
    """The template; ConfigError, beginning with `where`, when it is none, or has a capture that `captures` lacks."""
    names = tuple(found[1] for found in CAPTURE.finditer(text))
    parts = CAPTURE.split(text)[::2]
    if not names or any("{" in part or "}" in part for part in parts):
        raise ConfigError(f"{where}: {text!r} is not captures joined by other text, such as '{{floor}}/{{room}}'")
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: {text!r} has a capture twice. Leave one out")
    if missing := [name for name in names if name not in captures]:
        raise ConfigError(f"{where}: {text!r}: the route's filter captures no {{{missing[0]}}}. Capture it there")
    if not all(parts[1:-1]):
        raise ConfigError(
            f"{where}: {text!r}: put text between two captures, such as a slash: a1 and 2 are not a and 12"
        )
    # Each capture ends where the text behind it first occurs.
    split = "".join(f"{re.escape(part)}(?P<{name}>.+?)" for part, name in zip(parts, names, strict=False))
    return Join(text, names, re.compile(split + re.escape(parts[-1]), re.DOTALL))
