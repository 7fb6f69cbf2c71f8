"""One stream of files: the rows of uploads, from `uploads.clean` to its own `.raw`, as group/relay.py runs it.

1. Reads an order, and looks whether a receipt says that its upload is loaded: then there is nothing to do.
2. Fetches the file, and sends its rows piece by piece, each with the order's position and its own number in the file as
   `src`. Clean drops by these what comes twice. After each piece the note says which row was the last, so whoever goes
   on begins there.
3. When all rows of an order are in Kafka, its receipt is written, and then its offset committed.

What becomes of a row depends on the order and on what the store keeps under the digests in it, on nothing else.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from headrace import deadletters
from headrace.config import Config
from headrace.contracts.model import Contract, parse
from headrace.deadletters import KafkaSource, Letter, Stage
from headrace.errors import ConfigError, FatalError, PoisonError, Reason, TransientError
from headrace.kafka import Message, columns, epoch_of
from headrace.protocol.clean_note import Counts
from headrace.protocol.names import UPLOADS, clean_topic, key_part, raw_topic
from headrace.protocol.wire import EVENT_ID, HAS_EVENT_ID, Position, schema_id
from headrace.readers.apart import Apart
from headrace.runtime.metrics import DEAD_LETTERS, DERIVE_READINGS, DERIVE_ROWS
from headrace.schema_registry.client import Registry
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from headrace.uploads import desk
from headrace.uploads.desk import Desk, Receipt
from headrace.uploads.evidence import Evidence
from headrace.uploads.order import UPLOAD_BYTES, Order, row_id, row_ids
from headrace.uploads.profile import Profile
from processors.clean.schemas import known_of
from processors.derive.ahead import Ahead
from processors.derive.loading import Loading, Piece, place
from processors.group import relay
from processors.group.emit import Row
from processors.group.hold import PollHold
from processors.group.partition import Found, SourcePartition, event_id
from processors.group.refusal import refusal, shelved
from processors.group.relay import Outcome, Step
from processors.group.schemas import Schemas
from processors.group.token import Partition, Token
from processors.positions import new_messages
from processors.provenance import fields, marks, nothing, placed

_AT_ONCE = 1000  # orders in one turn
_ROWS = 10_000  # in one turn, about


class Loaded(NamedTuple):
    """What became of an order: how it counts, and its receipt, if it is to get one."""

    outcome: str  # of Counts
    receipt: Receipt | None = None


class FilesPartition(SourcePartition):
    """A partition of `uploads.clean` under one assignment."""

    def __init__(self, source: Partition, token: Token, found: Found) -> None:
        super().__init__(source, token, found)
        self.loading: Loading | None = None  # of the first order that is not dealt with
        self.dealt: dict[int, Loaded] = {}  # by offset, ascending: orders whose rows are in Kafka

    def close(self) -> None:
        """Give back what is open."""
        if self.loading is not None:
            self.loading.close()
            self.loading = None


class _Turn:
    """What becomes of a partition in one turn, while it is decided."""

    def __init__(self, it: FilesPartition) -> None:
        self.last = it.note.last
        self.rows: list[Row] = []
        self.letters: list[Letter] = []
        self.reasons = Counter[Reason]()
        self.dealt: dict[int, Loaded] = {}
        self.unsettled = {x.receipt.upload for x in it.dealt.values() if x.receipt}  # their receipts are not written

    def deal(self, offset: int, what: Loaded) -> None:
        """Note what became of an order."""
        self.dealt[offset] = what
        if what.receipt is not None:
            self.unsettled.add(what.receipt.upload)

    def refuse(self, error: PoisonError, letter: Letter) -> None:
        """Add a dead letter."""
        self.letters.append(letter)
        self.reasons[error.reason] += 1

    @property
    def full(self) -> bool:
        return len(self.rows) + len(self.letters) >= _ROWS


def settings_of(config: Config, stream: str) -> relay.Settings:
    """What the relay is to do for a stream of files."""
    return relay.Settings(
        service="derive",
        kafka=config.kafka,
        group=config.group_of(stream),
        batch=_AT_ONCE,
        targets={clean_topic(UPLOADS): raw_topic(stream)},
        letters=config.dead_letters.topic,
        letter_bytes=deadletters.max_letter_bytes(config),
        shelve=partial(shelved, config),
        id_of=_id_of,
        by_target=True,
    )


def _id_of(m: Message, item: int) -> bytes | None:
    own = event_id(m)
    return row_id(own[:UPLOAD_BYTES], item) if own is not None else None


class Loader(Step[FilesPartition]):
    """The step of a stream of files."""

    def __init__(self, config: Config, stream: str, registry: Registry) -> None:
        self._config, self._stream, self._registry = config, stream, registry
        self._orders = Schemas(registry.schema_text, known_of)
        self._contracts: Schemas[Contract] = Schemas(registry.schema_text, _contract)
        self._apart = Apart()
        self._opened: ObjectStore | None = None
        self._begun: list[FilesPartition] = []
        self._profiles: dict[str, Profile] = {}  # the latest, by its digest
        self._ahead = Ahead(config, stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        for it in self._begun:
            it.close()
        self._apart.__exit__(kind, e, at)
        self._ahead.close()

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = open_store(self._config.store)
        return self._opened

    def meet(self, wait: PollHold) -> None:
        """Wait for the store, and until the registry has the contract of orders."""
        wait.hold("store", "reaching the store", lambda: next(iter(self._store.list("_uploads/orders/")), None))
        wait.hold("registry", "looking for the contract", self._look)

    def _look(self) -> None:
        subject = f"{raw_topic(UPLOADS)}-value"
        if self._registry.latest_id(subject) is None:
            raise TransientError(f"the registry has no {subject}. `headrace provision` registers the contract")

    def leaving(self, partitions: Sequence[FilesPartition]) -> None:
        """Close their files."""
        for it in partitions:
            it.close()

    def begin(self, source: Partition, token: Token, found: Found, kept: FilesPartition | None) -> FilesPartition:
        """A partition of the orders: what was sent of one and not noted is sent again."""
        if kept is not None:
            kept.close()
        it = FilesPartition(source, token, found)
        self._begun = [other for other in self._begun if other.token.live] + [it]
        return it

    def skipped(self, it: FilesPartition, count: int) -> None:  # noqa: ARG002 - whose they are does not matter
        """Count offsets that hold no record."""
        DERIVE_READINGS.labels(self._stream, "skipped").inc(count)

    def decide(
        self, wait: PollHold, batch: Sequence[tuple[FilesPartition, list[Message]]], limits: Mapping[str, int]
    ) -> list[Outcome]:
        """Of each partition: receipts for the orders whose rows are in Kafka, and rows of those that follow."""
        return [
            self._turn(wait, it, messages, limits[it.target])
            for it, messages in batch
            if wait.hold("kafka", "looking how far the lake is", partial(self._ahead.room, it.number))
        ]

    def _turn(self, wait: PollHold, it: FilesPartition, messages: list[Message], limit: int) -> Outcome:
        messages = messages[:_AT_ONCE]  # a large file takes many turns: the others are not looked at in each
        done = list(takewhile(lambda m: (m.offset() or 0) in it.dealt, messages))
        for m in done:
            receipt = it.dealt[m.offset() or 0].receipt
            if receipt is not None:
                name = f"{key_part(it.note.topic_id)}-p{it.number}-o{m.offset()}"
                wait.hold("store", "writing a receipt", partial(Desk(self._store).settle, name, receipt))
        turn, given = _Turn(it), marks(columns.headers(messages))
        new, _ = new_messages(given, it.note.taken)
        for m, is_new in zip(messages[len(done) :], new[len(done) :].tolist(), strict=True):
            if turn.full:
                break
            if not is_new:
                turn.deal(m.offset() or 0, Loaded("repeated"))
            elif not self._order(wait, it, m, turn, limit):
                break
        _, taken = new_messages(given[: len(done)], it.note.taken)
        return self._outcome(it, done, taken, turn)

    def _outcome(self, it: FilesPartition, done: list[Message], taken: Position | None, turn: _Turn) -> Outcome:
        offset, note = it.next, replace(it.note, last=turn.last)
        counts = Counter(it.dealt[m.offset() or 0].outcome for m in done)
        if done:
            offset, note = it.advance(done[-1], turn.last, Counts(**counts), taken)
        return Outcome(it, turn.rows, turn.letters, offset, note, partial(self._committed, it, offset, turn, counts))

    def _committed(self, it: FilesPartition, offset: int, turn: _Turn, counts: Counter[str]) -> None:
        it.dealt = {at: what for at, what in (it.dealt | turn.dealt).items() if at >= offset}
        for outcome, n in counts.items():
            DERIVE_READINGS.labels(self._stream, outcome).inc(n)
        if turn.rows:
            DERIVE_ROWS.labels(self._stream).inc(len(turn.rows))
        for reason, n in turn.reasons.items():
            DEAD_LETTERS.labels("derive", self._stream, reason).inc(n)

    def _order(self, wait: PollHold, it: FilesPartition, m: Message, turn: _Turn, limit: int) -> bool:
        """Go on with an order; whether the next one may follow in this turn."""
        offset, order = m.offset() or 0, None
        try:
            if it.loading is None:
                order = self._read(wait, m)
                if order.upload in turn.unsettled:
                    return False  # its receipt is written in the next turn, and tells what is left to do
                it.loading = self._open(wait, it, m, order) if order.stream == self._stream else None
            if it.loading is None:
                turn.deal(offset, Loaded("repeated"))
                return True
        except PoisonError as e:
            turn.refuse(e, refusal(it, m, e, Stage.DERIVE, self._stream))
            receipt = _receipt(it, order.upload, 0, str(e)) if order is not None else None
            turn.deal(offset, Loaded("rejected", receipt))
            return True
        loading, failed = it.loading, ""
        try:
            for piece in loading.pieces(limit):
                self._piece(it, m, loading, piece, turn)
                wait.alive()
                if turn.full or not it.token.live:
                    return False
        except ConfigError as e:
            failed = str(e)
            error = PoisonError(
                Reason.MALFORMED, f"{failed}. What comes after row {loading.next_row - 1} is not loaded"
            )
            turn.refuse(error, refusal(it, m, error, Stage.DERIVE, self._stream))
        it.close()
        receipt = _receipt(it, loading.order.upload, loading.next_row, failed)
        turn.deal(offset, Loaded("rejected" if failed else "kept", receipt))
        return True

    def _open(self, wait: PollHold, it: FilesPartition, m: Message, order: Order) -> Loading | None:
        """The upload that is ordered, from the first row on that is to be sent. None: it is loaded.

        PoisonError: it can't be read.
        """
        at = Desk(self._store)
        receipts = wait.hold("store", "looking for receipts", partial(at.receipts, order.upload))
        if desk.complete(receipts) is not None:
            return None
        first = desk.first_row(receipts)
        last = it.note.last
        if (last.epoch, last.offset) == (epoch_of(m), m.offset()):
            first = max(first, last.item + 1)
        path = place()
        try:
            profile = self._profiles.get(order.profile)
            if profile is None:
                profile = wait.hold("store", "looking for the profile", partial(at.profile, order.profile))
                self._profiles = {order.profile: profile}
            manifest = wait.hold("store", "looking for the file", partial(Evidence(self._store).get, order.recording))
            contract = wait.hold("registry", "looking for the contract", partial(self._contracts.get, order.schema_id))
            wait.hold("store", "fetching the file", partial(Evidence(self._store).fetch, manifest, path, wait.alive))
            return Loading(self._apart, order, profile, contract, path, first)
        except (FatalError, ConfigError) as e:
            path.unlink(missing_ok=True)
            raise PoisonError(Reason.MALFORMED, f"{order.file}: {e}") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _read(self, wait: PollHold, m: Message) -> Order:
        value = m.value() or b""
        known = wait.hold("registry", "reading an order", lambda: self._orders.get(schema_id(value)))
        said = known.codec.read(value)
        lacking = [name for name in Order._fields if name not in said]
        if lacking:
            raise PoisonError(Reason.MISSING_FIELD, f"the order has no {', '.join(lacking)}", field=lacking[0])
        return Order(**{name: said[name] for name in Order._fields})

    def _piece(self, it: FilesPartition, m: Message, loading: Loading, piece: Piece, turn: _Turn) -> None:
        order, count = loading.order, len(piece.numbers)
        loading.next_row = piece.next_row
        if count:
            own = nothing(count)
            says = fields(own)
            says["flags"] |= HAS_EVENT_ID
            says["received"] = order.event_time
            says["event_id"] = row_ids(order.upload, piece.numbers)
            epochs, offsets = np.full(count, epoch_of(m), np.int64), np.full(count, m.offset() or 0, np.int64)
            headers = placed(own, epochs, offsets, turn.last, piece.numbers)
            turn.rows += zip(piece.keys, piece.values, headers, strict=True)
            turn.last = Position(epoch_of(m), m.offset() or 0, int(piece.numbers[-1]))
        for row in piece.refused:
            source = KafkaSource(it.topic, it.note.topic_id, it.number, epoch_of(m), m.offset() or 0, row.number)
            said = [
                (EVENT_ID, row_id(bytes.fromhex(order.upload), row.number)),
                ("file", order.file.encode(errors="replace")), ("row", b"%d" % row.number),
            ]  # fmt: skip
            letter = partial(deadletters.letter, stage=Stage.DERIVE, stream=self._stream, device=order.device_id)
            turn.refuse(row.error, letter(row.error, row.text, source=source, original=said))


def _contract(schema_id: int, text: str) -> Contract:
    return parse(f"schema-{schema_id}", text, f"schema {schema_id}")


def _receipt(it: FilesPartition, upload: str, next_row: int, failed: str) -> Receipt:
    return Receipt(upload, it.number, next_row, int(time.time()), failed)
