"""`headrace contracts new` over a contract that is there: its next version, or what would break."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from headrace.cli import context
from headrace.cli.output import printable, say
from headrace.contracts.again import merge
from headrace.contracts.changes import differences
from headrace.contracts.compat import incompatibilities
from headrace.contracts.infer import Draft
from headrace.contracts.model import Contract
from headrace.contracts.sample import Sample
from headrace.errors import ConfigError
from headrace.stack.state import State


def next_of(
    before: Contract, draft: Draft, sample: Sample, captured: Sequence[str], path: Path, *, force: bool
) -> Draft:
    """The draft of the next version of the contract in the file `path`, which takes the sample too; says what changes.

    ConfigError, and nothing is written: no version can take the sample and read what was stored; or there is something
    to change, and `force` is not given.
    """
    known = _stored_as(before)
    again = merge(before, draft.contract, sample.readings, captured, stored=known is not None)
    problems = list(again.problems)
    if known is not None:
        problems += incompatibilities(known, again.contract)
    if problems:
        raise ConfigError(
            "\n".join([
                f"{path}: no next version takes the sample and reads what is stored:",
                *(f"  {printable(p)}" for p in problems),
                "Give the sample a contract of its own with --name; or have the device send what the contract has.",
                f"Is the change meant? Make it in the contract, then `headrace contracts upgrade {before.name}`",
            ])
        )  # fmt: skip
    changes = differences(before, again.contract)
    for hint in again.hints:
        say(f"  - {printable(hint)}")
    if not changes:
        say(f"\n{path} takes the sample as it is, and stays")
        return replace(draft, contract=before, told=())
    say(f"\n{path}: the next version takes the sample too. What changes:\n")
    for change in changes:
        say(f"  - {printable(change.line)}" + (f" ({printable(change.seen)})" if change.seen else ""))
    if not force:
        raise ConfigError(f"{path} exists, and nothing is written yet. Write the next version with --force")
    return replace(draft, contract=again.contract, told=())


def _stored_as(before: Contract) -> dict[str, Any] | None:
    """The schema that readings were last stored with; None for none. Where there is no telling, that of the file."""
    state = State(context.state())
    if not state.exists:
        return None if context.config_file() is None else before.schema
    seen = state.read_json("contracts.json")  # by stream, what the registry of the local stack was seen to have
    texts: list[str] = seen.get(before.name, [])
    latest: dict[str, Any] | None = orjson.loads(texts[-1]) if texts else None
    return latest if seen else before.schema
