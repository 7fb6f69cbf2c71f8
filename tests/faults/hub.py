"""Group 7: hub, the agent and what they stand on killed while people change devices. Afterwards all of them agree.

What hub answered stays; its streams in the lake say what its database says; the audit log's chain holds; and the broker
lets in the active devices with their newest passwords, and nobody else.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from headrace.errors import TransientError
from headrace.hub.client import Hub
from headrace.identity.ca import Pair
from headrace.operate import brokerfiles, mqttprobe
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS
from tests.faults import books
from tests.faults.asking import answered
from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.machine import disk_full
from tests.faults.people import Known, Person, acting
from tests.faults.seats import Doors, Seat, context
from tests.faults.settings import databases, disks
from tests.faults.world import ROOT, World

IN_FORCE_SECONDS, TOLD_SECONDS = 30.0, 120.0
GENTLE, RECEIPTS = Shape(rate=300), Shape(rate=300, receipts=True)
_NO_ANSWER = 0x88
_REFUSED = {0x86, 0x87, _NO_ANSWER}  # bad user name or password, not authorised
TOUCHED = ("hub/**/*.py", "headrace/operate/broker*.py", "headrace/hub/*.py",
           *(f"tests/faults/{n}.py" for n in ("hub", "books", "people", "seats")))  # fmt: skip


def while_people_act(act: Callable[[World], None], *, broker_stays: bool = True) -> Callable[[World], None]:
    """`act` while devices are added, rotated, revoked and edited; then what must be true of it all.

    `broker_stays`: so connections of devices to which nothing was done stay, too.
    """

    def strike(world: World) -> None:
        name = f"p{time.time_ns() // 1_000_000:x}"
        with acting(world.config, _doors(world), name, world.dice.random().hex()) as people:
            world.sleep(2)
            act(world)
            world.sleep(2)
        world.wait_ready()
        world.wait("the broker to have all passwords", partial(_in_force, world), IN_FORCE_SECONDS)
        world.wait("Kafka to be told of everything", lambda: not books.read(world.config).waiting, TOLD_SECONDS)
        world.judges.append(partial(judge, world, people, broker_stays=broker_stays))

    return strike


def _doors(world: World) -> Doors:
    place = world.config.mqtt.as_device("", "")
    return Doors(place.host, place.port, int(world.state.info()["ports"]["mqtt.certificates"]))


def _in_force(world: World) -> bool:
    found = answered(lambda: Hub(world.config.hub).get("/api/broker/version"))
    return bool(found["version"] == found["applied"])


def judge(world: World, people: list[Person], *, broker_stays: bool) -> list[str]:
    """What is wrong, in words, once all is stored. Notes figures of the run in the world."""
    config, known = world.config, [d for person in people for d in person.devices]
    kept = books.read(config)
    events, audit = (books.in_lake(config, stream) for stream in (DEVICE_EVENTS, DEVICE_AUDIT))
    seats = [seat for person in people for seat in person.seats]
    sat = list(_sat(seats, {d.id: d for d in known}, broker_stays))
    for seat in seats:
        seat.close()
    logins = list(_logins(world, known))  # not before: who logs in takes the place of a connection that is there
    world.figures |= {
        "acts": sum(len(d.acts) for d in known), "asked_again": sum(p.asked_again for p in people),
        "events": len(events), "audit_rows": len(audit), "logins": len(logins),
        "connections": len(seats),
    }  # fmt: skip
    out = [problem for person in people for problem in person.problems]
    out += ["hub did not answer twenty acts: this proves nothing"] * (world.figures["acts"] < 20)
    out += forgotten(kept, known)
    out += books.disagreements(kept, events, audit)
    out += books.broken_links(kept.audit)
    out += _passwords(world, kept)
    out += [*(words for right, words in logins if not right), *sat]
    return out + _verified(world)


def forgotten(kept: books.Books, known: list[Known]) -> Iterator[str]:
    """What hub answered, and its database does not have."""
    recorded = Counter((row["act"], row["target"]) for row in kept.audit)
    for device in known:
        row = kept.devices.get(device.id)
        if row is None:
            yield f"{device.id} was added, and is not there"
            continue
        if (row["state"], row["firmware"]) != (device.state, device.firmware):
            told = (device.state, device.firmware)
            yield f"{device.id}: hub answered {told}, and has {(row['state'], row['firmware'])}"
        for act, times in Counter(device.acts).items():
            found, once = recorded[act, device.id], act in {"add", "revoke"}  # which a second request finds done
            if found < times or (once and found > times):
                yield f"{device.id}: {act} was answered {times} times, and is {found} times in the audit log"


def _passwords(world: World, kept: books.Books) -> Iterator[str]:
    """Where the broker's file has another password than hub, or another's."""
    text = (world.state.conf / brokerfiles.PASSWORDS).read_text()
    found = dict(line.split(":", 1) for line in text.splitlines())
    if found != kept.passwords:
        other = {name for name in found.keys() | kept.passwords if found.get(name) != kept.passwords.get(name)}
        yield f"the broker's passwords are not hub's, of {sorted(other)[:5]}"


def _logins(world: World, known: list[Known]) -> Iterator[tuple[bool, str]]:
    """Each password of each device, tried: whether the broker did what it is to do; in words."""
    doors = _doors(world)
    tries: list[tuple[Known, str | Pair, bool]] = []
    for d in known:
        if d.pairs or not d.certified:
            tries.append((d, d.credential, d.state == "active"))
        old: list[str | Pair] = [*d.old[-2:], *d.pairs[:-2][-1:], *d.ended[-2:]]
        tries += [(d, credential, False) for credential in old]
    tries.append((Known("nobody-knows-me", "unknown"), "x" * 24, False))
    for device, credential, welcome in tries:
        code = _tried(doors, device.id, credential)
        right = code == 0 if welcome else code in _REFUSED
        newest = credential is (device.credential if device.pairs or not device.certified else None)
        yield right, f"{device.id} is {device.state}; {'its newest' if newest else 'an old'} login: {code:#04x}"


def _tried(doors: Doors, name: str, credential: str | Pair) -> int:
    """What the broker answers. A certificate that it does not take ends the connection: as _REFUSED has it."""
    if isinstance(credential, str):
        return answered(partial(mqttprobe.handshake, doors.host, doors.passwords, name, credential, 10.0))
    try:
        return mqttprobe.handshake(doors.host, doors.certificates, None, None, 10.0, tls=context(credential))
    except TransientError:
        return _NO_ANSWER


def _sat(seats: list[Seat], known: dict[str, Known], broker_stays: bool) -> Iterator[str]:
    """Connections that are there, and must not be; or the other way round."""
    for seat in seats:
        device = known[seat.name]
        if seat.taken and (device.state != "active" or seat.harm & {"revoke", "rotate"}):
            yield f"{seat.name} is {device.state}, {sorted(seat.harm)} since it connected, and is connected still"
        if not seat.taken and device.calm and broker_stays:
            yield f"{seat.name} lost its connection, and nothing was done to it"


def _verified(world: World) -> list[str]:
    """What `headrace audit verify` finds, of the database and of the lake."""
    argv = [sys.executable, "-m", "headrace", "--state", str(world.state.path), "audit", "verify", "--lake"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return [] if done.returncode == 0 else [f"audit verify --lake: {done.stdout[-300:]} {done.stderr[-300:]}"]


# what happens meanwhile


def killed(*names: str, times: int) -> Callable[[World], None]:
    """kill -9, again and again, each time a moment after it serves: any of `names`, as the dice say."""

    def act(world: World) -> None:
        for _ in range(times):
            name = world.dice.choice(names)
            pid = world.pid(name)
            world.kill(name)
            world.wait_restarted(name, pid)
            world.sleep(0, 2)

    return act


def without_kafka(world: World) -> None:
    """Hub and the agent killed while Kafka stands still, and once more as it comes back."""
    with world.stopped("kafka"):
        killed("hub", "agent", times=3)(world)
    killed("hub", times=1)(world)


def postgres_killed(world: World) -> None:
    """kill -9 of hub's database, three times."""
    assert world.postgres is not None
    for _ in range(3):
        world.sleep(1, 4)
        world.postgres.kill()
        world.sleep(0, 3)
        world.postgres.start()
    world.wait_ready("hub")


FAULTS = [
    Fault("hub-killed", 7, "hub killed five times while devices change", while_people_act(killed("hub", times=5)),
          GENTLE, seeds=3, touches=TOUCHED),
    Fault("agent-killed", 7, "the broker's agent killed five times while devices change",
          while_people_act(killed("agent", times=5)), GENTLE, seeds=3, touches=TOUCHED),
    Fault("hub-agent-killed-kafka", 7, "hub and the agent killed while devices change and Kafka is stopped",
          while_people_act(without_kafka), GENTLE, seeds=3, touches=TOUCHED),
    Fault("mosquitto-killed-passwords", 7, "with receipts: Mosquitto killed three times while passwords change",
          while_people_act(killed("mosquitto", times=3), broker_stays=False), RECEIPTS, seeds=3, touches=TOUCHED),
    Fault("disk-full-hub", 7, "disk full under hub while devices change", while_people_act(disk_full("hub")),
          GENTLE, seeds=2, setting="disks", needs=disks, touches=TOUCHED),
    Fault("postgres-killed", 7, "hub's PostgreSQL killed three times while devices change",
          while_people_act(postgres_killed), GENTLE, seeds=2, setting="postgres", needs=databases, touches=TOUCHED),
]  # fmt: skip
