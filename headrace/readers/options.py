"""The options that a file is opened with, checked."""

from collections.abc import Mapping

from headrace.errors import ConfigError


def check(options: Mapping[str, str], **choices: tuple[str, ...]) -> None:
    """ConfigError unless each option is one of `choices`, and its word among its words, where it has any."""
    for name, word in options.items():
        if name not in choices:
            known = f"it has {', '.join(choices)}" if choices else "it has none"
            raise ConfigError(f"option {name!r}: the format has no such option ({known})")
        if choices[name] and word not in choices[name]:
            raise ConfigError(f"option {name}: {word!r} is none of {', '.join(choices[name])}")
