"""The text of a contract as a person would write it, and of the configuration that puts it into operation."""

import re
from typing import Any

import orjson

from headrace.errors import ConfigError

_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}\Z")


def as_text(schema: dict[str, Any]) -> str:
    """A schema in JSON, with a line for each field."""
    head = [f"  {_json(k)}: {_json(v)}," for k, v in schema.items() if k != "fields"]
    fields = [f"    {_json(f)}" for f in schema["fields"]]
    return "\n".join(["{", *head, '  "fields": [', ",\n".join(fields), "  ]", "}", ""])


def captures(topic: str) -> tuple[str, ...]:
    """The names that an MQTT filter such as `plant/{site}/{device_id}/pump` captures. ConfigError when malformed."""
    names = []
    for level in topic.split("/"):
        found = _CAPTURE.match(level)
        if found:
            names.append(found[1])
        elif "{" in level or "}" in level:
            raise ConfigError(
                f"--topic {topic}: {level!r} can't be used. A capture fills a whole level, as in plant/{{device_id}}/x"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"--topic {topic}: a name is captured twice. Name each level differently, or write + for one")
    return tuple(names)


def example_topic(topic: str, device: str) -> str:
    """A topic that the filter matches, as the device `device` would publish to."""
    levels = []
    for level in topic.split("/"):
        found = _CAPTURE.match(level)
        wild = found is not None or level in {"+", "#"}
        levels.append(device if found and found[1] == "device_id" else "1" if wild else level)
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
