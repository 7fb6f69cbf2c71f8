"""The text of a configuration in which one stream follows another: comments and layout stay as they are."""

import re
from typing import Any

import yaml

from headrace.errors import ConfigError


def next_name(stream: str, taken: set[str]) -> str:
    """The name for the stream that follows `stream`: pump_v2 after pump, pump_v3 after pump_v2."""
    found = re.fullmatch(r"(.+)_v(\d+)", stream)
    base, number = (found[1], int(found[2])) if found else (stream, 1)
    while (name := f"{base}_v{number + 1}") in taken:
        number += 1
    return name


def following(text: str, stream: str, new: str, contract: str) -> str:
    """`text` with the settings of `stream` given to the stream `new`, which follows it and has the contract `new`.

    `stream` keeps all but its routes, and the contract that it had: `contract`. ConfigError where the text has no such
    stream.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    streams = _value(root, "streams")
    key, value = next((pair for pair in _pairs(streams) if pair[0].value == stream), (None, None))
    if key is None or value is None:
        raise ConfigError(f"the configuration has no stream {stream!r} of its own")
    settings: Any = yaml.safe_load(text)["streams"][stream] or {}
    left = {k: v for k, v in settings.items() if k != "routes"} | ({"contract": contract} if contract != stream else {})
    edits = [(key.start_mark.index, key.end_mark.index, new)]
    old_contract = _value(value, "contract")
    if old_contract is not None:
        edits.append((old_contract.start_mark.index, old_contract.end_mark.index, new))
    if not isinstance(value, yaml.MappingNode):  # `pump:` and nothing, or `pump: null`
        edits.append((key.end_mark.index, value.end_mark.index, f": {{follows: {stream}}}"))
    elif value.flow_style:
        at = value.start_mark.index + 1
        edits.append((at, at, f"follows: {stream}" + (", " if value.value else "")))
    else:
        at = value.start_mark.index
        edits.append((at, at, f"follows: {stream}\n{' ' * value.start_mark.column}"))
    if streams.flow_style:
        edits.append((key.start_mark.index, key.start_mark.index, f"{stream}: {_flow(left)}, "))
    else:
        ended = f"{stream}: {_flow(left)} # ended: {new} has its routes\n{' ' * key.start_mark.column}"
        edits.append((key.start_mark.index, key.start_mark.index, ended))
    for start, end, words in sorted(edits, key=lambda e: (e[0], e[1]), reverse=True):
        text = text[:start] + words + text[end:]
    return text


def _flow(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _pairs(node: yaml.Node | None) -> list[tuple[Any, Any]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _value(node: yaml.Node | None, name: str) -> Any:
    return next((value for key, value in _pairs(node) if key.value == name), None)
