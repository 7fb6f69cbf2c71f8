"""Streams whose contract may not follow the registered one: their messages become dead letters, the others go on."""

import logging
from collections.abc import Callable, Mapping

from bridge.decoders import formats
from bridge.decoders.choice import Choice, refusing
from bridge.routing import Routing
from headrace.contracts.model import Contract
from headrace.errors import PoisonError, Reason, RefusedContractError
from headrace.runtime.health import Health
from headrace.runtime.metrics import CONTRACT_REFUSED

log = logging.getLogger(__name__)

_REMEDY = (
    "What comes for {stream} is kept as dead letters. Correct the contract and start again, or make a new stream of it "
    "with `headrace contracts upgrade {stream}`; then `headrace dlq redrive --reason contract_refused`"
)


def register(
    contracts: Mapping[str, Contract], ask: Callable[[str, Contract], int]
) -> tuple[dict[str, int], dict[str, RefusedContractError]]:
    """(schema ids, refusals), each by stream. `ask` registers a stream's contract."""
    ids: dict[str, int] = {}
    refused: dict[str, RefusedContractError] = {}
    for stream, contract in contracts.items():
        try:
            ids[stream] = ask(stream, contract)
        except RefusedContractError as e:
            refused[stream] = e
    return ids, refused


def decoders(
    routing: Routing,
    contracts: Mapping[str, Contract],
    ids: Mapping[str, int],
    refused: Mapping[str, RefusedContractError],
) -> dict[str, Choice]:
    """The decoders of each route, by `Route.where`; those of a refused stream refuse whatever comes.

    Sync messages are read all the same: other streams may need them.
    """
    return {
        r.where: formats.choice(contracts[r.stream], ids.get(r.stream, 0), r)
        if r.stream in ids or r.sync is not None
        else Choice(refusing(poison(r.stream, refused[r.stream])))
        for r in routing.routes
    }


def poison(stream: str, error: RefusedContractError) -> PoisonError:
    """Why a message for a refused stream can't be a reading now."""
    words = f"the contract of {stream} is refused: {'; '.join(error.problems)}"
    return PoisonError(Reason.CONTRACT_REFUSED, words)


def tell(streams: Mapping[str, Contract], refused: Mapping[str, RefusedContractError], health: Health) -> None:
    """Say in log, metrics and /readyz which streams are refused, why, and what a person can do."""
    for stream in streams:
        CONTRACT_REFUSED.labels(stream).set(stream in refused)
    for stream, error in refused.items():
        why = f"{'; '.join(error.problems)}. {_REMEDY.format(stream=stream)}"
        log.error("a stream is refused", extra={"stream": stream, "why": why})
        health.warn(f"contract of {stream}", f"the contract of {stream} is refused: {why}")
