"""The text of a contract as a person would write it, and of the configuration that puts it into operation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml

from headrace.protocol.filters import Filter
from headrace.protocol.names import DEVICE

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_YAML_WORDS = frozenset({"on", "off", "yes", "no", "true", "false", "null", "y", "n"})


def as_text(schema: dict[str, Any]) -> str:
    """A schema in JSON, with a line for each field."""
    head = [f"  {_json(k)}: {_json(v)}," for k, v in schema.items() if k != "fields"]
    fields = [f"    {_json(f)}" for f in schema["fields"]]
    return "\n".join(["{", *head, '  "fields": [', ",\n".join(fields), "  ]", "}", ""])


def example_topic(topic: Filter, device: str, values: Mapping[str, str] | None = None) -> str:
    """A topic that the filter matches, as the device `device` would publish to. `values`: of other captures."""
    levels = ["1" if level in {"+", "#"} else level for level in topic.levels]
    for name, value in {DEVICE: device, **(values or {})}.items():
        if name in topic.captures:
            levels[topic.captures[name]] = value
    return "/".join(levels)


@dataclass(frozen=True)
class RouteDraft:
    """A route as `contracts new` proposes it. `keys`: its keys beside the filter; `asides`: lines to uncomment."""

    topic: str
    keys: dict[str, Any] = field(default_factory=dict)
    asides: tuple[str, ...] = ()


def stream_yaml(stream: str, route: RouteDraft) -> str:
    """The lines under `streams:` that route to `stream`."""
    name = stream if stream not in _YAML_WORDS else _json(stream)
    if not route.keys and not route.asides:
        return f"  {name}:\n    routes:\n      - {_json(route.topic)}\n"
    lines = [f"      - filter: {_json(route.topic)}"]
    for key, value in route.keys.items():
        if key == "fields":
            lines += ["        fields:", *(f"          {k}: {flow(v)}" for k, v in value.items())]
        else:
            lines.append(f"        {key}: {flow(value)}")
    lines += [f"        # {aside}" for aside in route.asides]
    return "\n".join([f"  {name}:", "    routes:", *lines, ""])


def config_yaml(stream: str, route: RouteDraft, folder: str) -> str:
    """A configuration for `headrace up --config`: the stream, and the folder of its contract beside the file."""
    return f"""# Your streams. `headrace up --config` adds the connections of the local stack.
contracts: [{_json(folder)}] # beside this file
streams:
{stream_yaml(stream, route)}"""


def with_stream(text: str, stream: str, route: RouteDraft, folder: str) -> str | None:
    """The text of a configuration with one stream more at its end; None where that is not its place."""
    before = yaml.safe_load(text)
    if not isinstance(before, dict) or folder not in (before.get("contracts") or ()) or list(before)[-1] != "streams":
        return None
    after = f"{text.rstrip()}\n{stream_yaml(stream, route)}"
    new = yaml.safe_load(stream_yaml(stream, route))
    try:
        fits = yaml.safe_load(after) == {**before, "streams": {**before["streams"], **new}}
    except (yaml.YAMLError, TypeError):
        return None
    return after if fits else None


def flow(value: Any) -> str:
    """A value in YAML on one line, without quotes where it needs none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {flow(v)}" for k, v in value.items()) + "}"
    plain = isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _YAML_WORDS
    return str(value) if plain else _json(value)


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(k)}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(v) for v in value) + "]"
    return orjson.dumps(value).decode()
