"""/api/broker/behaviour: who does too much at the MQTT broker, as the agent beside it says."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from headrace.operate.behaviour import Fact
from headrace.runtime.metrics import HUB_BEHAVIOUR_REPORTED
from hub import behaviour
from hub.context import Broker, Shared
from hub.model import Asked

router = APIRouter(prefix="/broker")


class Seen(Asked):
    """A fact: what somebody did in the last minute."""

    rule: Annotated[str, Field(max_length=16)]
    who: Annotated[str, Field(max_length=64)]
    value: Annotated[int, Field(ge=0, lt=1 << 63)]


class Report(Asked):
    """All who are over a limit now; nobody, most of the time."""

    facts: Annotated[list[Seen], Field(max_length=200)]


@router.post("/behaviour")
def report(wanted: Report, _caller: Broker, it: Shared) -> dict[str, Any]:
    """Judge a report; the answer says which of its devices are shut out, now or before."""
    HUB_BEHAVIOUR_REPORTED.set_to_current_time()
    if not wanted.facts:
        return {"shut_out": []}
    found = behaviour.take(it.database, it.behaviour, [Fact(f.rule, f.who, f.value) for f in wanted.facts])
    if any(outcome.act == "quarantined" for outcome in found):
        it.bell.ring()
    with it.database.read() as connection:
        return {"shut_out": behaviour.shut_out(connection, {f.who for f in wanted.facts})}
