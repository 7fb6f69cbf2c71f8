"""What pydantic says of a request, in plain words."""

from collections.abc import Iterable
from typing import Any


def faults_of(errors: Iterable[Any]) -> list[str]:
    """A line a fault: "tags[0]: what is wrong". The values themselves are not repeated."""
    out = []
    for e in errors:
        place = [p for p in e["loc"] if p not in {"body", "query", "path"}]
        key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).removeprefix(".")
        text = "unknown key" if e["type"] == "extra_forbidden" else e["msg"].removeprefix("Value error, ")
        out.append(f"{key}: {text}" if key else text)
    return out
