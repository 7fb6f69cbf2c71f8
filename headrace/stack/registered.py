"""The contracts that the registry of a stack has, kept in its folder: to compare with while the registry is down."""

from typing import Any

import orjson

from headrace.config import Config
from headrace.contracts import files
from headrace.contracts.compat import incompatibilities
from headrace.protocol.names import raw_topic
from headrace.stack.state import State

_FILE = "contracts.json"  # by stream, the texts that the registry has been seen to have; the latest version comes last


def note(state: State, config: Config) -> None:
    """Write down what the registry has for each stream. TransientError while it is away."""
    from headrace.schema_registry.client import Registry

    known = state.read_json(_FILE)
    with Registry(config.registry) as registry:
        for stream in config.streams:
            latest = registry.latest(f"{raw_topic(stream)}-value")
            if latest is not None:
                known[stream] = [*(text for text in known.get(stream, []) if text != latest), latest]
    state.write_json(_FILE, known)


def refusals(state: State, config: Config) -> dict[str, list[str]]:
    """By stream, why its contract will be refused, in words. Streams that the registry was not seen to have are good.

    Connects to nothing. ConfigError for a contract that is missing or faulty.
    """
    known = state.read_json(_FILE)
    out = {}
    for stream in config.streams:
        contract = files.find(config.contract_of(stream), config.contracts)
        texts: list[str] = known.get(stream, [])
        if texts and contract.text not in texts:
            latest: Any = orjson.loads(texts[-1])
            if problems := incompatibilities(latest, contract):
                out[stream] = problems
    return out


def lines(refused: dict[str, list[str]]) -> list[str]:
    """The refusals, for a person, with what to do."""
    return [line for stream, problems in refused.items() for line in _lines(stream, problems)]


def _lines(stream: str, problems: list[str]) -> list[str]:
    kept = "what comes for it will be kept as dead letters, and the other streams go on"
    remedy = f"Correct the contract; or `headrace contracts upgrade {stream}` makes a new stream of it"
    return [
        f"{stream}: its contract can't follow the registered one: {kept}",
        *(f"  {p}" for p in problems),
        f"  {remedy}. Then `headrace restart`, and `headrace dlq redrive --reason contract_refused`",
    ]
