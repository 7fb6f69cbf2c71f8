"""`python -m bridge replay`: send dead letters again. What `headrace dlq replay` runs.

Asked for on standard input, one JSON object: {"keys": [hexadecimal, ...], "again": bool, "dry_run": bool}. Answers on
standard output, a JSON object a letter. Each reading of a letter is stored once, however often this is killed:

1. Write the notes that replays begin, with where the raw topics end. Wait until Kafka has them.
2. Send the readings, with ids made from letter and number. Wait.
3. Write the notes that they were sent. Wait; then answer.

A note without its end is finished under the same number, leaving out what is found to be in the raw topic.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import orjson

from bridge import startup
from bridge.again import Again, Outcome
from bridge.routing import Plan
from bridge.sending import Item, Sender
from headrace import deadletters, kafka, replays, service
from headrace.config import Config, load
from headrace.contracts import files
from headrace.contracts.model import Contract
from headrace.deadletters import ReadLetter
from headrace.errors import ConfigError, FatalError, HeadraceError, PoisonError, Reason, TransientError
from headrace.names import raw_topic
from headrace.registry import Registry
from headrace.replays import Place
from headrace.store.base import ObjectStore
from headrace.store.open import open_store

Judge = Callable[[ReadLetter, bytes, int], Outcome]
_CHUNK_LETTERS, _CHUNK_BYTES = 200, 8 * 1024 * 1024


class Wish(NamedTuple):
    """What to send again."""

    keys: frozenset[bytes]
    again: bool
    dry_run: bool


def command(argv: list[str]) -> int:
    """Run it; returns the exit code: 0 all was looked at, 1 something is away, 2 the configuration is wrong."""
    path = service.configuration("bridge replay", argv)
    stop = service.stopping()
    try:
        config = load(path)
        for answer in replay(config, _wish(sys.stdin.buffer.read()), stop):
            sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
            sys.stdout.buffer.flush()
    except HeadraceError as e:
        print(str(e), file=sys.stderr)
        return 2 if isinstance(e, ConfigError) else 1
    return 0


def replay(config: Config, wish: Wish, stop: threading.Event) -> Iterator[dict[str, Any]]:
    """Send letters again, in chunks, until `stop`; yields what became of each, those that are left alone not.

    TransientError, FatalError: the same wish will finish it.
    """
    journal = replays.load(config)
    numbers = {k: n for k in wish.keys & journal.letters.keys() if (n := journal.next_number(k, again=wish.again))}
    if not numbers:
        return
    with Registry(config.registry) as registry:
        limits = _limits(config)
        judge = _judge(config, registry, limits, register=not wish.dry_run)
        chosen = (it for it in deadletters.read(config) if it.key in numbers)
        store = cache(lambda: open_store(config.store))  # few letters need it
        items = (Item(it, numbers[it.key], _judged(it, numbers[it.key], judge, store)) for it in chosen)
        if wish.dry_run:
            yield from (_answer(item, []) for item in items)
            return
        broken_off = [n for k, n in journal.notes.items() if k in numbers and not n.sent]
        with Sender(config, limits.values(), broken_off) as sender:
            sender.look_back()
            for chunk in _chunks(items):
                yield from _send(chunk, sender, wish)
                if stop.is_set():
                    return


def _send(chunk: list[Item], sender: Sender, wish: Wish) -> Iterator[dict[str, Any]]:
    unsure = [i for i in chunk if sender.unsure(i.letter.key) and not wish.again]
    going = [i for i in chunk if i.outcome.refused is None and i not in unsure]
    places = sender.send(going)
    for i in chunk:
        answer = _answer(i, places.get(i.letter.key, []))
        if i in unsure:
            why = "an earlier replay broke off, and the raw topic no longer reaches back to it"
            answer = {**answer, "outcome": "unsure", "reason": "", "detail": why}
        yield answer


def _answer(item: Item, places: list[Place]) -> dict[str, Any]:
    refused = item.outcome.refused
    out = {"key": item.letter.key.hex(), "number": item.number, "outcome": "sent" if refused is None else "refused"}
    if refused is not None:
        return {**out, "reason": refused.reason, "field": refused.field, "detail": str(refused), "to": []}
    return {**out, "readings": len(item.outcome.records), "letters": len(item.outcome.letters), "to": places}


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for it in items:
        chunk.append(it)
        size += sum(len(r.value) for r in it.outcome.records) + sum(len(x.value) for x in it.outcome.letters)
        if len(chunk) >= _CHUNK_LETTERS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _judge(config: Config, registry: Registry, limits: dict[str, int], *, register: bool) -> Judge:
    """What judges a letter by the contracts and routes of `config`, which are registered unless it is only a trial."""
    routed = any(s.routes for s in config.streams.values())
    plan = startup.check(config).plan if routed else Plan((), (), (), ())
    contracts = {s: files.find(config.contract_of(s), config.contracts) for s in config.streams}
    ids = {s: _schema_id(registry, s, contract, register=register) for s, contract in contracts.items()}
    return Again(plan, contracts, ids, limits, registry.schema_text).judge


def _schema_id(registry: Registry, stream: str, contract: Contract, *, register: bool) -> int:
    subject = f"{raw_topic(stream)}-value"
    if register:
        return registry.register(subject, contract)
    if problems := registry.check(subject, contract):
        raise ConfigError(f"contract {contract.name} can't be registered for {stream}: {'; '.join(problems)}")
    return 0  # nothing is written with it


def _limits(config: Config) -> dict[str, int]:
    """Bytes of a record that each stream's raw topic takes."""
    found = kafka.describe(config.kafka, [raw_topic(s) for s in config.streams])
    missing = [raw_topic(s) for s in config.streams if raw_topic(s) not in found]
    if missing:
        raise TransientError(f"Kafka has no topic {', '.join(missing)}; `headrace provision` creates it")
    return {s: min(config.max_message_bytes, found[raw_topic(s)].max_message_bytes) for s in config.streams}


def _judged(letter: ReadLetter, number: int, judge: Judge, store: Callable[[], ObjectStore]) -> Outcome:
    try:
        value = deadletters.content(letter, lambda key: store().get(key))
    except FatalError as e:  # one letter's bytes are gone: no reason to keep the others
        return Outcome(refused=PoisonError(Reason.MALFORMED, str(e)))
    return judge(letter, value, number)


def _wish(text: bytes) -> Wish:
    try:
        found = orjson.loads(text)
        keys = frozenset(bytes.fromhex(k) for k in found["keys"])
        return Wish(keys, bool(found.get("again")), bool(found.get("dry_run")))
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ConfigError(f"standard input: not a JSON object with `keys`: {e}") from None
