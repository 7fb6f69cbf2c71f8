"""The text of a contract as a person would write it, and of the configuration that puts it into operation."""

from typing import Any

import orjson

from headrace.protocol.filters import Filter


def as_text(schema: dict[str, Any]) -> str:
    """A schema in JSON, with a line for each field."""
    head = [f"  {_json(k)}: {_json(v)}," for k, v in schema.items() if k != "fields"]
    fields = [f"    {_json(f)}" for f in schema["fields"]]
    return "\n".join(["{", *head, '  "fields": [', ",\n".join(fields), "  ]", "}", ""])


def example_topic(topic: Filter, device: str) -> str:
    """A topic that the filter matches, as the device `device` would publish to."""
    levels = ["1" if level in {"+", "#"} else level for level in topic.levels]
    if "device_id" in topic.captures:
        levels[topic.captures["device_id"]] = device
    return "/".join(levels)


def stream_yaml(stream: str, topic: str) -> str:
    """The lines under `streams:` that route `topic` to `stream`."""
    return f"  {stream}:\n    routes:\n      - {_json(topic)}\n"


def config_yaml(stream: str, topic: str, folder: str) -> str:
    """A configuration for `headrace up --config`: the stream, and the folder of its contract beside the file."""
    return f"""# Your streams. `headrace up --config` adds the connections of the local stack.
contracts: [{_json(folder)}] # beside this file
streams:
{stream_yaml(stream, topic)}"""


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(k)}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(v) for v in value) + "]"
    return orjson.dumps(value).decode()
