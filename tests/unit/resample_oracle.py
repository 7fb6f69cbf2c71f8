"""What resampling is, in plain Python, a row at a time: for the tests to compare with."""

import math
from collections.abc import Sequence
from typing import Any

MONDAY = 946_857_600_000_000  # 2000-01-03T00:00Z, microseconds since 1970


def resampled(rows: Sequence[dict[str, Any]], plan: Any) -> list[dict[str, Any]]:
    """`rows`: device_id, event_time (microseconds), o (their order) and the fields, in any order."""
    out: list[dict[str, Any]] = []
    for device in sorted({r["device_id"] for r in rows}):
        own = sorted((r for r in rows if r["device_id"] == device), key=lambda r: (r["event_time"], r["o"]))
        out += _device(own, plan)
    return out


def _device(rows: list[dict[str, Any]], plan: Any) -> list[dict[str, Any]]:
    begins = [MONDAY + math.floor((r["event_time"] - MONDAY) / plan.every) * plan.every for r in rows]
    buckets: dict[int, list[dict[str, Any]]] = {}
    for begin, r in zip(begins, rows, strict=True):
        buckets.setdefault(begin, []).append(r)
    out = []
    for at in range(min(buckets), max(buckets) + 1, plan.every):
        own = buckets.get(at, [])
        row = {"device_id": rows[0]["device_id"], "event_time": at, "_readings": len(own), "_filled": []}
        for f in plan.fields:
            row[f.name] = _one(own, f, plan)
            if row[f.name] is None:
                row[f.name] = _between(buckets, at, f, plan)
                row["_filled"] += [f.name] if row[f.name] is not None else []
        if own or row["_filled"]:
            out.append({**row, "_filled": ";".join(row["_filled"]) or None})
    return out


def _one(rows: list[dict[str, Any]], f: Any, plan: Any) -> Any:
    values = [r[f.name] for r in rows if r[f.name] is not None]
    if plan.aggregate == "count" and f.number:
        return len(values)
    if not values:
        return None
    if not f.number or plan.aggregate == "last":
        return values[-1]
    if plan.aggregate == "mean" and f.turn:
        total = sum(complex(math.cos(v * 2 * math.pi / f.turn), math.sin(v * 2 * math.pi / f.turn)) for v in values)
        if abs(total) / len(values) <= 1e-9:
            return None
        return math.atan2(total.imag, total.real) * f.turn / (2 * math.pi)
    return {"mean": math.fsum(values) / len(values), "sum": sum(values), "min": min(values), "max": max(values)}[
        plan.aggregate
    ]


def _between(buckets: dict[int, list[dict[str, Any]]], at: int, f: Any, plan: Any) -> Any:
    if plan.fill == "none":
        return None
    known = {b: v for b, rows in sorted(buckets.items()) if (v := _one(rows, f, plan)) is not None}
    before, after = [b for b in known if b < at], [b for b in known if b > at]
    if not before or not after:
        return None
    b, n = before[-1], after[0]
    last = max(r["event_time"] for r in buckets[b] if r[f.name] is not None)
    first = min(r["event_time"] for r in buckets[n] if r[f.name] is not None)
    if plan.most is not None and first - last > plan.most:
        return None
    if plan.fill == "previous" or not f.number:
        return known[b]
    way = known[n] - known[b]
    if f.turn and plan.aggregate != "sum":
        way = (way + f.turn / 2) % f.turn - f.turn / 2
    return known[b] + way * (at - b) / (n - b)
