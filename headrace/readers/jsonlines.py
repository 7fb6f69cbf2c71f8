"""JSON lines: an object a line; or one list of objects, as a file with .json often is.

An object within an object gives columns with a path, `acc.x`. A list of numbers is a list; any other list is text.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.errors import ConfigError
from headrace.readers import jsontext
from headrace.readers import options as words
from headrace.readers.base import Reader
from headrace.readers.jsontext import LINES, LIST, Bad, Item
from headrace.readers.objects import Objects
from headrace.readers.source import Source

_DEEPEST = 32


def suits(head: bytes, name: str) -> bool:
    """Whether it begins with an object, or with a list of them."""
    text = jsontext.begins(head)
    return text[:1] == b"{" or _is_list(text) or name.lower().endswith((".jsonl", ".ndjson"))


def _is_list(text: bytes) -> bool:
    return text[:1] == b"[" and text[1:].lstrip()[:1] in {b"{", b"]"}


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """Options: `shape`, `lines` or `list`."""
    words.check(options, shape=(LINES, LIST))
    text = jsontext.begins(source.head())
    shape = options.get("shape") or (LIST if _is_list(text) else LINES)
    if shape == LINES and text[:1] == b"{" and text[1:].lstrip(b" \t\r")[:1] == b"\n":
        raise ConfigError(
            f"{source.path}: a JSON object that takes several lines, where each line is to be an object. "
            f"`jq -c . {source.name}` writes one a line; `jq -c '.KEY[]'` the elements of a list in it"
        )

    def items(literal: bool) -> Iterator[Item]:
        read = jsontext.lines if shape == LINES else jsontext.elements
        return ((number, flat(value), text) for number, value, text in read(source, literal=literal))

    return Objects(source, items, {"shape": shape}, "line" if shape == LINES else "element")


def flat(value: Any) -> Any:
    """An object with those in it laid flat, or Bad."""
    if type(value) is not dict:
        return value if isinstance(value, Bad) else Bad("no object")
    if dict not in map(type, value.values()):
        return value or Bad("an empty object")
    out: dict[str, Any] = {}
    return _lay(value, "", out, 0) or out or Bad("an empty object")


def _lay(value: dict[str, Any], path: str, out: dict[str, Any], depth: int) -> Bad | None:
    if depth > _DEEPEST:
        return Bad("nested too deeply")
    for key, it in value.items():
        name = path + key
        if type(it) is dict:
            bad = _lay(it, f"{name}.", out, depth + 1)
            if bad:
                return bad
        elif name in out:
            return Bad("two values with one path")
        else:
            out[name] = it
    return None
