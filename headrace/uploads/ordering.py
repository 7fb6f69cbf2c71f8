"""Uploads to Kafka: each an order, a reading of the stream `uploads`, of which its rows are made."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from headrace import kafka
from headrace.config import Config
from headrace.contracts import columnar
from headrace.contracts.avro import read_record
from headrace.contracts.model import parse
from headrace.errors import TransientError
from headrace.kafka.confirmed import Confirmed
from headrace.protocol.names import UPLOADS, raw_topic
from headrace.protocol.wire import Provenance, frame
from headrace.schema_registry.client import Registry
from headrace.store.base import ObjectStore
from headrace.uploads.desk import Desk, actor
from headrace.uploads.evidence import Evidence
from headrace.uploads.order import UPLOAD_BYTES, Order
from headrace.uploads.plan import Planned

_AT_ONCE = 8


class Ordering:
    """Ships files, and orders their rows: a context manager. TransientError while a server is away."""

    def __init__(self, cfg: Config, store: ObjectStore) -> None:
        self._cfg, self._desk, self._evidence = cfg, Desk(store), Evidence(store)
        self._registry = Registry(cfg.registry)
        self._profiles: set[str] = set()
        self._records = Confirmed(kafka.producer(cfg.kafka))
        self._ids: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self._registry.close()

    def ship_all(self, planned: Sequence[Planned], progress: Callable[[int], None]) -> list[Order]:
        """Ship all of them, several at a time, and give their orders. `progress` is told the bytes that are kept.

        Returns once Kafka has the orders. Whatever happens on the way, the same call again goes on where it was.
        """
        out: list[Order] = []
        for stream in {it.stream for it in planned}:
            self._schema_id(stream)
        total = _Total(progress)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="shipping") as pool:
            for orders in pool.map(lambda it: self.ship(it, total.part()), planned):
                self.give(orders)
                out += orders
        self.flush()
        return out

    def ship(self, it: Planned, progress: Any = lambda _: None) -> list[Order]:
        """Keep the file and the profile, and say who ordered what: the orders of its tables, to be given.

        That of the first table comes last: where it is, the others are.

        ConfigError where the file has changed since it was planned.
        """
        with it.candidate.open() as source:
            self._evidence.ship(source, it.recording, progress)
        if it.profile.digest not in self._profiles:
            self._desk.keep_profile(it.profile)
            self._profiles.add(it.profile.digest)
        now, number = time.time_ns() // 1000, self._schema_id(it.stream)
        out = []
        for table, (upload, one) in reversed(list(enumerate(zip(it.uploads, it.trials, strict=True)))):
            devices = sorted(one.devices)
            order = Order(
                device_id=devices[0] if devices else UPLOADS,
                event_time=now,
                upload=upload,
                recording=it.recording.id,
                file_table=table,
                file=it.candidate.name,
                stream=it.stream,
                profile=it.profile.digest,
                schema_id=number,
                readings=one.readings,
                refused=one.refused.total(),
                left_out=one.left_out.total(),
                devices=len(devices),
                bytes=it.candidate.size,
                actor=actor(),
            )
            out.append(self._desk.claim(order))
        return out

    def give(self, orders: Sequence[Order]) -> None:
        """Give orders to Kafka: `flush` tells when it has them. One that was given before may be given again."""
        for order in orders:
            self._produce(order)

    def flush(self) -> None:
        """Return once Kafka has all orders."""
        self._records.flush("Run the same command again when Kafka is back: nothing is loaded twice")

    def _produce(self, order: Order) -> None:
        columns = {name: pa.array([value]) for name, value in order._asdict().items()}
        value = columnar.encode(self._node, columns, 1).data
        header = Provenance(bytes.fromhex(order.upload) + os.urandom(UPLOAD_BYTES), order.event_time).header()
        self._records.produce(
            raw_topic(UPLOADS),
            value=frame(self._uploads, value),
            key=order.device_id.encode(),
            headers=[header],
        )

    def _schema_id(self, stream: str) -> int:
        if not self._ids:
            self._uploads = self._latest(UPLOADS)
            text = self._registry.schema_text(self._uploads)
            self._node = read_record(parse(UPLOADS, text).schema)
        if stream not in self._ids:
            self._ids[stream] = self._latest(stream)
        return self._ids[stream]

    def _latest(self, stream: str) -> int:
        subject = f"{raw_topic(stream)}-value"
        found = self._registry.latest_id(subject)
        if found is None:
            raise TransientError(f"the registry has no {subject}. `headrace provision` registers the contract")
        return found


class _Total:
    """Adds up what several files tell of themselves at once."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told, self._lock, self._sum = told, Lock(), 0

    def part(self) -> Callable[[int], None]:
        """What one file tells: how many bytes of it are done."""
        before = 0

        def progress(done: int) -> None:
            nonlocal before
            with self._lock:
                self._sum += done - before
                before = done
                self._told(self._sum)

        return progress
