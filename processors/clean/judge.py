"""The verdict on each raw message: its bytes, its schema id, its append time and the look-back decide, nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, groupby, pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl

from headrace.errors import PoisonError, Reason
from headrace.protocol.names import QUALITY
from headrace.protocol.wire import FRAME_BYTES, schema_id
from processors.arrays import Bools, Ints
from processors.clean.lookback import Key, Lookback, Values
from processors.clean.rules.rule import Change, looked_up_name
from processors.clean.schemas import Known
from processors.group.schemas import Schemas

T = TypeVar("T")


class Raw(NamedTuple):
    """Consecutive raw messages of one partition, in columns of one element a message."""

    values: Sequence[bytes | None]
    append_ms: Ints  # when Kafka took the message, milliseconds since 1970 UTC
    offsets: Ints
    repeats: Bools  # which messages repeat a reading of the look-back: they get no verdict
    lookback: Lookback


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts on a Raw, by row. A row in neither `refused` nor `rewritten` passes with its own bytes."""

    refused: dict[int, PoisonError] = field(default_factory=dict)
    rewritten: dict[int, bytes] = field(default_factory=dict)  # the whole message's new value
    values: Values = field(default_factory=dict)  # what the look-back keeps of the messages once they are committed


class _Batch(NamedTuple):
    """The messages of several partitions, part after part: those of part i are the rows [edges[i], edges[i + 1])."""

    values: Sequence[bytes | None]
    append_ms: Ints
    offsets: Ints
    repeats: Bools
    lookbacks: Sequence[Lookback]
    edges: Sequence[int]


def judge(parts: Sequence[Raw], schemas: Schemas[Known]) -> list[Judged]:
    """The verdicts on each part. Changes nothing. TransientError while the registry is away.

    Messages of one schema are decoded and judged together, whatever their partitions.
    """
    batch = _Batch(
        list(chain.from_iterable(p.values for p in parts)),
        np.concatenate([p.append_ms for p in parts]),
        np.concatenate([p.offsets for p in parts]),
        np.concatenate([p.repeats for p in parts]),
        [p.lookback for p in parts],
        [0, *accumulate(len(p.values) for p in parts)],
    )
    whole, values = Judged(), [Values() for _ in parts]
    alike: dict[int, tuple[Known, list[Ints]]] = {}  # of several schemas with one text
    for prefix, rows in by_prefix(batch.values).items():
        new = rows[~batch.repeats[rows]]
        try:
            known = schemas.get(schema_id(prefix))
        except PoisonError as e:
            whole.refused.update(dict.fromkeys(new.tolist(), e))
            continue
        if known.rules.looks_back:  # a repeat gets no verdict, but may be the reading before another
            _judge_group(batch, rows, known, whole, values)
        elif len(new):
            alike.setdefault(id(known), (known, []))[1].append(new)
    for known, some in alike.values():
        _judge_group(batch, np.sort(np.concatenate(some)), known, whole, values)
    return [
        Judged(_part(whole.refused, *edges), _part(whole.rewritten, *edges), kept)
        for edges, kept in zip(pairwise(batch.edges), values, strict=True)
    ]


def values_of(
    values: Sequence[bytes | None], times: Callable[[], tuple[Ints, Ints]], schemas: Schemas[Known]
) -> Values:
    """What the look-back keeps of consecutive messages of a partition that were judged before it was assigned.

    `times()`: append times in milliseconds, and offsets. TransientError while the registry is away.
    """
    out = Values()
    for prefix, rows in by_prefix(values).items():
        try:
            known = schemas.get(schema_id(prefix))
        except PoisonError:
            continue
        if known.rules.looks_back:
            frame = known.codec.decode(_chosen(values, rows)).frame
            append_ms, offsets = times()
            for name, orders, found in known.rules.values(frame, append_ms[rows], offsets[rows]):
                out.update({Key(schema_id(prefix), name, order): found for order in orders})
    return out


def by_prefix(values: Sequence[bytes | None]) -> dict[bytes | None, Ints]:
    """The rows by the frame before their datum: that is, by schema id."""
    prefixes = [None if v is None else v[:FRAME_BYTES] for v in values]
    if prefixes and prefixes.count(prefixes[0]) == len(prefixes):
        return {prefixes[0]: np.arange(len(values))}
    groups: dict[bytes | None, list[Ints]] = {}
    begin = 0
    for prefix, run in groupby(prefixes):  # those of one partition lie together
        end = begin + len(list(run))
        groups.setdefault(prefix, []).append(np.arange(begin, end))
        begin = end
    return {prefix: np.concatenate(rows) for prefix, rows in groups.items()}


def _judge_group(batch: _Batch, rows: Ints, known: Known, out: Judged, values: Sequence[Values]) -> None:
    """Judge rows of one schema."""
    chosen = _chosen(batch.values, rows)
    decoded = known.codec.decode(chosen)
    before = _before(batch, rows, known, decoded.frame, values) if known.rules.looks_back else {}
    verdicts = known.rules.judge(decoded.frame, batch.append_ms[rows], before)
    for i, error in chain(decoded.bad, verdicts.refused.items()):
        row = int(rows[i])
        if not batch.repeats[row]:
            out.refused[row] = error
    for i, changes in verdicts.changes.items():
        row = int(rows[i])
        if row not in out.refused and not batch.repeats[row]:
            try:
                out.rewritten[row] = rewrite(chosen[i], changes, known)
            except PoisonError as e:
                out.refused[row] = e


def _before(
    batch: _Batch, rows: Ints, known: Known, frame: pl.DataFrame, values: Sequence[Values]
) -> Mapping[str, pl.Series]:
    """What came before each row of `frame`, as `ContractRules.judge` takes it.

    The values that the look-backs keep of these rows are added to `values`, part by part.
    """
    out = {}
    number = schema_id(batch.values[int(rows[0])])
    edges = np.searchsorted(rows, batch.edges)  # of the parts, in `frame`
    for name, orders, found in known.rules.values(frame, batch.append_ms[rows], batch.offsets[rows]):
        places = found["row"].to_numpy()
        wanted = ~batch.repeats[rows[places]]
        cuts = list(pairwise(np.searchsorted(places, edges).tolist()))
        for key in (Key(number, name, order) for order in orders):
            looked_up = pl.concat(
                it.before(key, found[a:b], wanted[a:b]) for it, (a, b) in zip(batch.lookbacks, cuts, strict=True)
            )
            for it in looked_up:
                nothing = pl.repeat(None, len(rows), dtype=it.dtype, eager=True)
                out[looked_up_name(name, it.name)] = nothing.scatter(found["row"], it)
            for kept, (a, b) in zip(values, cuts, strict=True):
                kept[key] = found[a:b]
    return out


def _chosen(values: Sequence[bytes | None], rows: Ints) -> list[bytes]:
    return [v for i in rows.tolist() if (v := values[i]) is not None]


def _part(found: dict[int, T], first: int, end: int) -> dict[int, T]:
    return {i - first: v for i, v in found.items() if first <= i < end}


def rewrite(value: bytes, changes: Sequence[Change], known: Known) -> bytes:
    """The message with values replaced; `_quality` says which, and what else was noted, after what it said before."""
    row = known.codec.read(value, proven=True)
    for change in changes:
        if not change.stays:
            row[change.field] = change.value
    notes = [row[QUALITY]] if row[QUALITY] else []
    row[QUALITY] = ";".join([*notes, *(c.note for c in changes)])
    try:
        return known.codec.write(schema_id(value), row)
    except (ValueError, TypeError, OverflowError) as e:
        raise PoisonError(Reason.MALFORMED, f"the cleaned reading can't be written: {e}") from None
