"""What `headrace contracts diff` finds and prints: local contracts against the registered ones."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from headrace.config import Config
from headrace.contracts import files
from headrace.contracts.changes import differences
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError
from headrace.protocol.names import raw_topic

REFUSED = "refused"
_WIDTH = 10  # of the column of what changed, at least


class Registered(Protocol):
    """The registry, as far as it is asked."""

    def latest(self, subject: str) -> str | None:
        """The text of the latest version."""

    def check(self, subject: str, contract: Contract) -> list[str]:
        """Why the contract may not follow it."""


def chosen(config: Config, which: Sequence[str]) -> dict[str, Contract]:
    """The contract to compare for each stream named in `which`, all when it is empty.

    A file is compared for each stream that uses the contract of its name. ConfigError where there is none.
    """
    if not config.streams:
        raise ConfigError("streams: the configuration has none. Add one, with its MQTT topics")
    out: dict[str, Contract] = {}
    for name in which or config.streams:
        if name.endswith(files.SUFFIX) or "/" in name:
            contract = files.read(Path(name))
            users = [s for s in config.streams if config.contract_of(s) == contract.name]
            if not users:
                raise ConfigError(
                    f"{name}: no stream uses a contract {contract.name!r}. Name the file as the contract that it is to "
                    f"replace; there are: {', '.join(sorted({config.contract_of(s) for s in config.streams}))}"
                )
            out |= dict.fromkeys(users, contract)
        elif name in config.streams:
            out[name] = files.find(config.contract_of(name), config.contracts)
        else:
            raise ConfigError(f"no stream {name!r}. There are: {', '.join(config.streams)}")
    return out


def compare(stream: str, contract: Contract, registry: Registered) -> dict[str, Any]:
    """What differs for a stream, as JSON: state (new, same, changed, refused), changes, refused, and what to do."""
    subject = f"{raw_topic(stream)}-value"
    registered = registry.latest(subject)
    if registered is None:
        return _found("new", [], [], "nothing is registered: `headrace up`, `provision` or `contracts publish` does it")
    refused = registry.check(subject, contract)
    try:
        changes = [c._asdict() for c in differences(parse(contract.name, registered, "the registered one"), contract)]
    except ConfigError as e:  # somebody else has registered what is no contract
        changes = [{"what": "registered", "field": "", "words": line, "seen": ""} for line in str(e).splitlines()]
    if refused:
        remedy = (
            f"correct the contract as it says; or, if the change is meant, `headrace contracts upgrade {stream}` makes "
            "it a stream of its own, and the views unite both"
        )
        return _found(REFUSED, changes, refused, remedy)
    if not changes:
        return _found("same", [], [], "")
    remedy = "the next start registers it: older readings stay as they are, and one query reads all"
    return _found("changed", changes, [], remedy)


def lines(stream: str, found: dict[str, Any]) -> Iterator[str]:
    """The same for a person."""
    states = {
        "changed": "changed, and may follow the registered contract",
        REFUSED: "may not follow the registered one",
    }
    yield f"{stream}: {states.get(found['state'], found['state'])}"
    docs = [c["field"] for c in found["changes"] if c["what"] == "doc"]
    shown = [c for c in found["changes"] if c["what"] != "doc"]
    width = max([_WIDTH, *(len(c["what"]) for c in shown)])
    for c, after in zip_longest(shown, shown[1:]):
        place = f"{c['field']}: " if c["field"] else ""
        yield f"  {c['what']:<{width}} {place}{c['words']}"
        if c["seen"] and (after is None or after["seen"] != c["seen"]):  # once for those that it is true of
            yield f"  {'':<{width}}   {c['seen']}"
    if docs:
        yield f"  {'doc':<{width}} of {', '.join(field or 'the contract' for field in docs)}"
    for problem in found["refused"]:
        yield f"  {'refused':<{width}} {problem}"
    if found["next"]:
        yield f"  {'to do':<{width}} {found['next']}"


def _found(state: str, changes: list[dict[str, str]], refused: list[str], remedy: str) -> dict[str, Any]:
    return {"state": state, "changes": changes, "refused": refused, "next": remedy}
