"""What to run after `headrace contracts new`: every line runs as it is printed."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import orjson

from headrace.cli.newroute import Publisher
from headrace.config import Config
from headrace.contracts import write
from headrace.contracts.heard import Message
from headrace.contracts.infer import Draft
from headrace.contracts.sample import Sample
from headrace.contracts.sqlnames import quoted
from headrace.protocol.names import DEVICE, is_device_id
from headrace.stack.state import State

_SHOWN = 4  # columns in the query


@dataclass(frozen=True)
class Sent:
    """What is to be sent. `file`: None when devices send it already. `device`: its name, where it must be this kind."""

    file: Path | None
    publisher: Publisher
    sample: Sample
    device: str = ""
    messages: tuple[Message, ...] = ()  # of the file, where it has their topics


def next_steps(folder: Path, config_file: Path | None, draft: Draft, config: Path, contracts: Path, sent: Sent) -> str:
    """The lines. `folder`: of the stack's state; `config_file`: that of the options; `config`, `contracts`: written."""
    from headrace.stack.show import command

    called, state = command(folder), State(folder)
    name = draft.contract.name
    look = f"{called} query {shlex.quote(query(draft))}"
    sending = _sending(called, state, name, sent)
    if config_file is not None and not state.exists:  # in a container, or on a cluster
        lines = [
            "Next: give the installation this configuration and its contracts. With docker-compose.yml:",
            f"  printf 'CONFIG=./{config}\\nCONTRACTS=./{contracts}\\n' >> .env",
            "  docker compose up -d --wait --force-recreate",
            *sending,
            f"  {look}    (within a minute; at once: {called} tail {name})",
        ]
    else:
        lines = [
            "Next:",
            f"  {called} {'restart' if state.locked else 'up --detach'} --config {shlex.quote(str(config))}",
            *sending,
            f"  {look}    (in a few seconds; at once: {called} tail {name})",
        ]
    return "\n".join(["", *lines])


def steps_again(folder: Path, stream: str) -> str:
    """The lines where the next version of a contract was written, which the configuration uses already."""
    from headrace.stack.show import command

    called = command(folder)
    begin = "restart" if State(folder).locked else "up --detach"
    return "\n".join(["", "Next:", f"  {called} contracts diff {stream}", f"  {called} {begin}"])


def query(draft: Draft) -> str:
    """SQL that shows the newest readings: when, who, and some of what was measured."""
    numbers = [t.field for t in draft.told if t.type in {"double", "long", "decimal"}]
    with_unit = {t.field for t in draft.told if t.unit}
    measured = sorted(numbers, key=lambda f: f not in with_unit)[:_SHOWN]
    columns = ", ".join(["event_time", "device_id", *map(quoted, measured)]) if measured else "*"
    return f"select {columns} from {quoted(draft.contract.name)}"  # noqa: S608 - shown, not run


def _sending(called: str, state: State, name: str, sent: Sent) -> list[str]:
    if sent.file is None:
        return []
    first = sent.sample.readings[0].get(DEVICE)
    device = sent.device or (
        first if isinstance(first, str) and is_device_id(first) else f"{name.replace('_', '-')}-01"
    )
    identity = sent.publisher.identity
    who, gateway = (device, "") if identity == DEVICE else ("gateway-01", " --gateway")
    host, port = (state.config() if state.exists else Config()).mqtt.for_devices
    topic = write.example_topic(sent.publisher.topic, device, {identity: who})
    if sent.messages:
        levels, at = sent.messages[0].topic.split("/"), sent.publisher.topic.captures[identity]
        who = levels[at] if is_device_id(levels[at]) else who
        levels[at] = who
        topic = "/".join(levels)
    send, pipe = ["mosquitto_pub", "-h", host, "-p", port, "-u", who, "-P", "PASSWORD", "-q", "1", "-t", topic], ""
    if sent.messages:
        send += ["-m", sent.messages[0].payload.decode(errors="replace")]
    elif sent.file == Path("-"):
        send += ["-l"] if sent.sample.lines else ["-m", orjson.dumps(sent.sample.readings[0]).decode()]
    elif sent.sample.lines:
        send, pipe = [*send, "-l"], f" < {shlex.quote(str(sent.file))}"
    else:
        send += ["-f", str(sent.file)]
    return [f"  {called} devices add {who}{gateway}    (prints its PASSWORD)", f"  {shlex.join(send)}{pipe}"]
