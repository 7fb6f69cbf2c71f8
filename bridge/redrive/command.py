"""`python -m bridge redrive`: send dead letters again. `headrace dlq redrive` runs it.

The request and the answers are those of `headrace.deadletters.exchange`. Each reading of a letter is stored once,
however often this process is killed:

1. Write a note for each letter that its redrive begins, with where the raw topics end. Wait until Kafka has the notes.
2. Send the readings, with event ids made from the letter's key and the redrive's number. Wait until Kafka has them.
3. Write a note for each letter that it was sent. Wait until Kafka has the notes, then answer.

A redrive with a note of step 1 and none of step 3 is finished under the same number, without the readings that are
found in the raw topic.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b

from bridge import clocks, registering, startup
from bridge.redrive.again import Again, Outcome
from bridge.redrive.derived import Derived
from bridge.redrive.sending import Item, Sender
from bridge.routing import Routing
from headrace import deadletters, kafka
from headrace.config import Config, check, load
from headrace.config.check import Service
from headrace.contracts import files
from headrace.contracts.model import Contract
from headrace.deadletters import ReadLetter, exchange, journal
from headrace.deadletters.exchange import Answer, Fate, Request
from headrace.deadletters.journal import RecordAt
from headrace.deadletters.mending import Mended
from headrace.errors import (
    ConfigError,
    FatalError,
    HeadraceError,
    PoisonError,
    Reason,
    RefusedContractError,
    TransientError,
)
from headrace.protocol.names import raw_topic
from headrace.runtime import service
from headrace.schema_registry.client import Registry
from headrace.store.base import ObjectStore
from headrace.store.open import open_store

Judge = Callable[[ReadLetter, bytes, int, bool], Outcome]
_CHUNK_LETTERS, _CHUNK_BYTES = 200, 8 * 1024 * 1024


def command(argv: list[str]) -> int:
    """Run it. The exit code: 0 every letter was looked at, 1 a service is away, 2 the configuration is wrong."""
    path = service.configuration("bridge redrive", argv)
    stop = service.stopping()
    try:
        config = load(path)
        for answer in redrive(config, exchange.decode_request(sys.stdin.buffer.read()), stop):
            sys.stdout.buffer.write(answer.encode())
            sys.stdout.buffer.flush()
    except HeadraceError as e:
        print(str(e), file=sys.stderr)
        return 2 if isinstance(e, ConfigError) else 1
    return 0


def redrive(config: Config, request: Request, stop: threading.Event) -> Iterator[Answer]:
    """Send letters again, in chunks, until `stop`. Yields an answer for each letter that was looked at.

    A letter that was redriven before is passed over unless the request says `again`. TransientError, FatalError: the
    same request will finish it.
    """
    known = journal.load(config)
    numbers = {k: n for k in request.keys & known.letters.keys() if (n := known.next_number(k, again=request.again))}
    if not numbers:
        return
    with Registry(config.registry) as registry:
        limits = _limits(config)
        judge = _judge(config, registry, limits, register=not request.dry_run)
        chosen = (it for it in deadletters.read(config) if it.key in numbers)
        store = cache(lambda: open_store(config.store))  # few letters need it
        items = (_item(it, numbers[it.key], request.mended.get(it.key), judge, store) for it in chosen)
        if request.dry_run:
            yield from (_answer(item, Fate.WOULD_GO) for item in items)
            return
        interrupted = [n for k, n in known.notes.items() if k in numbers and not n.sent]
        with Sender(config, limits.values(), interrupted) as sender:
            sender.find_sent()
            for chunk in _chunks(items):
                yield from _send(chunk, sender, request)
                if stop.is_set():
                    return


def _send(chunk: list[Item], sender: Sender, request: Request) -> Iterator[Answer]:
    unsure = {i.letter.key: why for i in chunk if not request.again and (why := sender.unsure(i))}
    going = [i for i in chunk if i.outcome.refused is None and i.letter.key not in unsure]
    sent = sender.send(going)
    for i in chunk:
        if i.letter.key in unsure:
            yield Answer(i.letter.key, i.number, Fate.UNSURE, detail=unsure[i.letter.key])
        else:
            yield _answer(i, Fate.WAITING, sent.get(i.letter.key, ()))


def _answer(item: Item, fate: Fate, to: Sequence[RecordAt] = ()) -> Answer:
    """The answer for a letter that has this fate unless it was refused."""
    refused = item.outcome.refused
    if refused is not None:
        return Answer(
            item.letter.key,
            item.number,
            Fate.REFUSED,
            reason=refused.reason,
            field=refused.field,
            detail=str(refused),
        )
    readings, letters = len(item.outcome.records), len(item.outcome.letters)
    return Answer(item.letter.key, item.number, fate, readings=readings, letters=letters, to=tuple(to))


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
    """What judges a letter by the contracts and routes of `config`. A trial does not `register` the contracts."""
    routing = Routing((), (), (), (), ())
    if any(s.routes for s in config.streams.values()):
        check.require(config, [Service.BRIDGE])
        routing = startup.prepare(config).routing
    contracts = {s: files.find(config.contract_of(s), config.contracts) for s in config.streams}
    ids, refusals = registering.register(contracts, lambda s, c: _schema_id(registry, s, c, register=register))
    heirs = {s: config.lineage(s) for s in config.streams}
    derived = Derived(config, contracts, ids, registry.schema_text)
    again = Again(routing, contracts, ids, limits, registry.schema_text, refusals, heirs, derived)
    asyncio.run(clocks.fetch(config, routing, again.decoders))
    return again.judge


def _schema_id(registry: Registry, stream: str, contract: Contract, *, register: bool) -> int:
    subject = f"{raw_topic(stream)}-value"
    if register:
        return registry.register(subject, contract)
    if problems := registry.check(subject, contract):
        raise RefusedContractError(contract.name, subject, problems)
    return 0  # a trial writes nothing with it


def _limits(config: Config) -> dict[str, int]:
    """Bytes of a record that each stream's raw topic takes."""
    found = kafka.describe(config.kafka, [raw_topic(s) for s in config.streams])
    missing = [raw_topic(s) for s in config.streams if raw_topic(s) not in found]
    if missing:
        raise TransientError(f"Kafka has no topic {', '.join(missing)}; `headrace provision` creates it")
    return {s: min(config.max_message_bytes, found[raw_topic(s)].max_message_bytes) for s in config.streams}


def _item(
    letter: ReadLetter, number: int, mended: Mended | None, judge: Judge, store: Callable[[], ObjectStore]
) -> Item:
    if mended is not None and mended.value != letter.value:  # else nobody has touched it
        digest = blake2b(mended.value, digest_size=16).hexdigest()
        return Item(letter, number, judge(letter, mended.value, number, mended.is_reading), digest)
    try:
        value = deadletters.content(letter, lambda key: store().get(key))
    except FatalError as e:  # the bytes of one letter are gone: no reason to keep the others back
        return Item(letter, number, Outcome(refused=PoisonError(Reason.MALFORMED, str(e))))
    return Item(letter, number, judge(letter, value, number, False))
