"""Rows of a stream from where they are kept, as columns of stored values: what a transform is tried on."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from headrace.contracts.avro import Node
from headrace.contracts.model import Contract
from headrace.contracts.sqlnames import quoted
from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol.names import QUALITY

if TYPE_CHECKING:
    from headrace.config import Config

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = {"timestamp-micros": timedelta(microseconds=1), "timestamp-millis": timedelta(milliseconds=1)}


def of_lake(cfg: "Config", stream: str, contract: Contract, count: int) -> dict[str, list[Any]]:
    """At most `count` rows of the newest day in the lake, by event time. ConfigError when there are none."""
    from headrace.lake.sql import connect, explained, run

    name = quoted(stream)
    newest = f"date = (select max(date) from {name})"  # noqa: S608
    sql = f"select * from {name} where {newest} order by event_time limit {int(count)}"  # noqa: S608
    with connect(cfg, sql) as lake, explained(cfg):
        rows = run(lake, sql).to_arrow_table().to_pylist()
    return columns_of(contract, rows, f"nothing of {stream} is stored yet. Try --from sample")


def of_topic(cfg: "Config", topic: str, contract: Contract, count: int) -> dict[str, list[Any]]:
    """At most `count` of the newest readings of a topic of a stream. ConfigError if there is none."""
    from headrace import kafka
    from headrace.operate.live import Reader

    kafka.probe(cfg.kafka)
    with Reader(cfg, topic) as reader:
        rows = [dict(it.reading) for it in reader.backlog(count) if it.reading is not None]
    return columns_of(contract, rows, f"{topic} is empty: nothing came yet, or Kafka keeps it no more")


def of_letters(cfg: "Config", stream: str, contract: Contract, count: int) -> dict[str, list[Any]]:
    """The readings of at most `count` dead letters that a transform of the stream made. ConfigError if there are none.

    They are as they came to clean: before its rules.
    """
    from headrace import deadletters, kafka
    from headrace.deadletters.choosing import Filter
    from headrace.operate.live import decode
    from headrace.schema_registry.client import Registry
    from headrace.store.open import open_store

    kafka.probe(cfg.kafka)
    wanted = Filter(stream=stream, reason=Reason.TRANSFORM)
    rows: list[dict[str, Any]] = []
    known: dict[int, Any] = {}
    with Registry(cfg.registry) as registry:
        for letter in deadletters.read(cfg):
            if wanted.takes(letter) and len(rows) < count:
                value = deadletters.content(letter, lambda key: open_store(cfg.store).get(key))
                try:
                    rows.append(decode(value, registry.schema_text, known))
                except PoisonError as e:
                    raise ConfigError(f"the letter {letter.key.hex()} can't be read: {e}") from None
    return columns_of(contract, rows, f"no dead letter of {stream} has the reason {Reason.TRANSFORM}")


def columns_of(contract: Contract, rows: Iterable[dict[str, Any]], nothing: str) -> dict[str, list[Any]]:
    """The rows' fields, but `_quality`, as stored; without rows that lack a value which the contract needs.

    ConfigError with the words `nothing` where no row is left.
    """
    fields = [f for f in contract.fields if f.name != QUALITY]
    kept = [r for r in rows if all(f.nullable or r.get(f.name) is not None for f in fields)]
    if not kept:
        raise ConfigError(nothing)
    return {f.name: [_stored(f.type, r.get(f.name)) for r in kept] for f in fields}


def _stored(node: Node, value: Any) -> Any:
    if isinstance(value, list) and node.items is not None:
        return [_stored(node.items, v) for v in value]
    if isinstance(value, dict):
        return {m.name: _stored(m.type, value.get(m.name)) for m in node.members}
    tick = _TICKS.get(node.logical or "")
    return (value - _EPOCH) // tick if tick is not None and isinstance(value, datetime) else value
