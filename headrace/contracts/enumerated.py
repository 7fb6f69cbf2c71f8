"""allowed and pattern: which texts and whole numbers a field may hold."""

import re
from typing import Any

from headrace.contracts.avro import Node
from headrace.contracts.written import Raw
from headrace.errors import ConfigError

MAX_ALLOWED = 1_000
MAX_PATTERN = 500  # characters
_TOP = {"int": 2**31, "long": 2**63}


def allowed(raw: Raw, node: Node, place: str) -> tuple[int | str, ...]:
    """The only values that the field may have; empty when it may have any."""
    if "allowed" not in raw:
        return ()
    values = raw["allowed"]
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_ALLOWED:
        raise ConfigError(f'{place}: allowed must be a list of 1 to {MAX_ALLOWED:,} values, such as ["RUN", "STOP"]')
    if node.kind not in {"string", *_TOP} or node.logical:
        hint = " Its symbols are the only values already" if node.kind == "enum" else " Use minimum and maximum"
        what = node.logical or node.kind
        raise ConfigError(f"{place}: allowed is for string, int and long, not for {what}.{hint}")
    for v in values:
        if not _fits(v, node.kind):
            raise ConfigError(f"{place}: allowed has {v!r:.60}, which no {node.kind} can be. Leave it out")
    twice = [v for i, v in enumerate(values) if v in values[:i]]
    if twice:
        raise ConfigError(f"{place}: allowed has {twice[0]!r:.60} twice. Leave it out once")
    return tuple(values)


def pattern(raw: Raw, node: Node, place: str) -> str | None:
    """The regular expression that the whole text must match."""
    if "pattern" not in raw:
        return None
    text = raw["pattern"]
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_PATTERN:
        raise ConfigError(
            f"{place}: pattern must be a regular expression of 1 to {MAX_PATTERN} characters, "
            'such as "[A-Z]{2}-[0-9]+"'
        )
    if node.kind != "string":
        raise ConfigError(f"{place}: pattern is for string, not for {node.logical or node.kind}. Leave it out")
    odd = re.search(r"\(\?(<?[=!])|(?<!\\)(\\\\)*\\[1-9]", text)
    if odd is not None:
        raise ConfigError(
            f"{place}: pattern uses {odd[0]!r}: looking around and back-references are not possible, since such a "
            "pattern can take for ever. Write it without"
        )
    return text


def whole(text: str) -> str:
    """The pattern for a whole text, for polars' `str.contains`, whose engine takes time linear in the text."""
    return rf"\A(?:{text})\z"


def pattern_problem(text: str) -> str | None:
    """What is wrong with a pattern, in words; None when nothing is, or when polars is not installed here."""
    try:
        import polars as pl
    except ImportError:
        return None
    try:
        for it in (text, whole(text)):
            pl.Series([""]).str.contains(it)
    except pl.exceptions.PolarsError as e:
        lines = str(e).removeprefix("regex error: ").splitlines()
        why = " ".join(line.strip() for line in lines if "error:" in line or "limit" in line)
        return f"the pattern {text!r:.80} is no regular expression here: {why or e}"
    return None


def _fits(value: Any, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str)
    top = _TOP[kind]
    return isinstance(value, int) and not isinstance(value, bool) and -top <= value < top
