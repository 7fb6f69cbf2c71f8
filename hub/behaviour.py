"""Judges what devices do: an event for each episode, and the device quarantined where a rule wants that.

An episode begins when somebody goes over a rule's limit, and ends when nobody has said so for CALM_SECONDS, or when
the device's state is set by hand. Each is a row; what happened is also an event, and in the audit log.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from headrace.config.behaviour import RULES, Behaviour
from headrace.operate.behaviour import Fact
from headrace.runtime.metrics import HUB_BEHAVIOUR
from hub import registry
from hub.changes import NOBODY, Change, change
from hub.database import Database
from hub.model import Changes, State
from hub.refusal import RefusedError
from hub.tables import devices, episodes

CALM_SECONDS = 120.0
KEEP_DAYS = 30.0  # episodes that have ended; the streams keep them as long as all else
for _rule, _outcome in product(RULES, ("event", "quarantined", "withheld")):
    HUB_BEHAVIOUR.labels(_rule, _outcome)  # 0: else Prometheus does not see the first one
_HOUR = int(3600e6)
ADDRESSES = {"refused"}  # rules about addresses, not devices
ACTOR = "headrace-hub"  # what rules do is no person's doing


@dataclass(frozen=True)
class Outcome:
    """What came of a fact: event, quarantined, or withheld (it would have been one too many)."""

    rule: str
    who: str
    act: str


def take(database: Database, rules: Behaviour, facts: Iterable[Fact]) -> list[Outcome]:
    """Judge facts, as one change; returns what is new."""
    with change(database, ACTOR) as c:
        return _counted(judge(c, rules, facts))


def look(database: Database, rules: Behaviour) -> None:
    """Judge who is silent, as one change."""
    if rules.silence.action != "none":
        with change(database, ACTOR) as c:
            _counted(silent(c, rules))


def _counted(found: list[Outcome]) -> list[Outcome]:
    for outcome in found:
        HUB_BEHAVIOUR.labels(outcome.rule, outcome.act).inc()
    return found


def judge(c: Change, rules: Behaviour, facts: Iterable[Fact]) -> list[Outcome]:
    """Take note of facts, each over a limit; returns what is new. Devices that hub does not know are passed over."""
    found = list(facts)
    _settle(c)
    limits = rules.limits()
    new = []
    for fact in found:
        limit = limits.get(fact.rule)
        if limit is None or fact.value <= limit:
            continue
        if not _goes_on(c, fact) and (act := _begin(c, rules, fact, limit)):
            new.append(Outcome(fact.rule, fact.who, act))
    return new


def silent(c: Change, rules: Behaviour) -> list[Outcome]:
    """An event for each active device that was not seen for longer than the rule allows.

    None while nothing at all was seen for so long: then readings do not arrive, and it is not the devices.
    """
    before = c.now - rules.silence.most * 1_000_000
    connection = c.connection
    latest = connection.execute(select(func.max(devices.c.last_seen))).scalar()
    back = select(devices.c.id).where(devices.c.last_seen >= before)
    over = (episodes.c.rule == "silence", episodes.c.ended.is_(None), episodes.c.who.in_(back))
    connection.execute(update(episodes).where(*over).values(ended=c.now))
    if latest is None or latest < before:
        return []
    told = select(episodes.c.who).where(episodes.c.rule == "silence", episodes.c.ended.is_(None))
    found = (devices.c.state == State.ACTIVE.value, devices.c.last_seen < before, devices.c.id.not_in(told))
    rows = connection.execute(select(devices.c.id, devices.c.last_seen).where(*found).order_by(devices.c.id)).all()
    facts = [Fact("silence", row.id, (c.now - row.last_seen) // 1_000_000) for row in rows]
    begun = [(fact, _begin(c, rules, fact, rules.silence.most)) for fact in facts]
    return [Outcome(fact.rule, fact.who, act) for fact, act in begun if act]


def shut_out(connection: Connection, ids: Iterable[str]) -> list[str]:
    """Those of `ids` that hub does not let in."""
    found = select(devices.c.id).where(devices.c.id.in_(list(ids)), devices.c.state != State.ACTIVE.value)
    return list(connection.execute(found.order_by(devices.c.id)).scalars())


def reasons(connection: Connection, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Why a rule has quarantined those of `ids` that one has: rule, value, most, and when (microseconds, UTC)."""
    found = select(episodes).where(
        episodes.c.who.in_(list(ids)), episodes.c.act == "quarantined", episodes.c.ended.is_(None)
    )
    return {
        row["who"]: {"rule": row["rule"], "value": row["value"], "most": row["most"], "at": row["begun"]}
        for row in connection.execute(found.order_by(episodes.c.number)).mappings()
    }


def _settle(c: Change) -> None:
    """End episodes that nobody has spoken of for a while; a quarantine's lasts until somebody ends it."""
    calm = c.now - int(CALM_SECONDS * 1e6)
    quiet = [episodes.c.ended.is_(None), episodes.c.seen < calm]
    quiet += [episodes.c.act != "quarantined", episodes.c.rule != "silence"]
    c.connection.execute(update(episodes).where(*quiet).values(ended=c.now))
    c.connection.execute(delete(episodes).where(episodes.c.ended < c.now - int(KEEP_DAYS * 86400e6)))


def _goes_on(c: Change, fact: Fact) -> bool:
    """Whether the fact is of an episode that has begun already; then it is noted there."""
    known = (episodes.c.rule == fact.rule, episodes.c.who == fact.who, episodes.c.ended.is_(None))
    return c.connection.execute(update(episodes).where(*known).values(seen=c.now)).rowcount > 0


def _begin(c: Change, rules: Behaviour, fact: Fact, limit: int) -> str:
    """Begin an episode; returns what was done. Empty, and nothing is, for a device that hub does not let in anyway."""
    detail = {"rule": fact.rule, "value": fact.value, "most": limit}
    device = None
    if fact.rule not in ADDRESSES:
        try:
            device = registry.get(c.connection, fact.who)
        except RefusedError:
            return ""
        if device["state"] != State.ACTIVE:
            return ""
    act = "event"
    if device is not None and rules.quarantines(fact.rule):
        act = "quarantined" if _recent(c) < rules.quarantines_per_hour else "withheld"
    if device is not None:
        c.tell("behaviour", [device], detail)
    if act == "quarantined":
        registry.edit(c, fact.who, Changes(state=State.QUARANTINED))  # which ends its other episodes
    row = {"rule": fact.rule, "who": fact.who, "value": fact.value, "most": limit, "act": act}
    c.connection.execute(insert(episodes).values(**row, begun=c.now, seen=c.now))
    names = {"quarantined": "quarantine", "withheld": "quarantine withheld", "event": "behaviour"}
    c.record(names[act], fact.who, detail, key="" if device is not None else NOBODY)
    return act


def _recent(c: Change) -> int:
    """How many devices rules have quarantined in the last hour."""
    found = (episodes.c.act == "quarantined", episodes.c.begun > c.now - _HOUR)
    return int(c.connection.execute(select(func.count()).select_from(episodes).where(*found)).scalar_one())
