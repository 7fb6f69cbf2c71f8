"""Bridges of one shared group on real services: killed, restarted, and gone for good, and no reading lost."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
import yaml

from headrace import kafka, mqtt
from headrace.kafka import partition
from headrace.protocol.wire import event_ids, provenance
from headrace.simulation.device import Publisher
from tests.integration.test_bridge_session import GOOD, Own
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]
DEVICES = 6
RATE = 400.0  # readings a second


class Group(Own):
    """A shared group on a stream of its own. `unrouted` overlaps the route in part: a broker may send copies."""

    def __init__(self, stack: Stack, folder: Path, **bridge: Any) -> None:
        super().__init__(stack, folder, unrouted=("dev-0/#",))
        data = yaml.safe_load(self.path.read_text())
        data["bridge"] |= {"shared_group": f"{self.name}-group", **bridge}
        self.path.write_text(yaml.safe_dump(data))
        self.provision()

    @contextmanager
    def member(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A bridge with the client id `name`; what it logs goes to a file beside the configuration."""
        env = {**os.environ, "HEADRACE_BRIDGE__CLIENT_ID": f"headrace-{self.name}-{name}"}
        command = [sys.executable, "-m", "bridge", *arguments, "--config", str(self.path)]
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def log(self, name: str) -> Path:
        return self.path.with_suffix(f".{name}.log")

    def wait_receiving(self, names: str, times: int = 1) -> None:
        """Until each member, named by a letter, has begun to receive so many times."""
        for name in names:
            self.wait_logged(name, '"receiving"', times)

    def wait_logged(self, name: str, words: str, times: int = 1) -> None:
        until = time.monotonic() + 60
        while self.log(name).read_text().count(words) < times:
            assert time.monotonic() < until, f"{name} has not logged {words}: {self.log(name).read_text()}"
            time.sleep(0.05)

    def drain(self, name: str) -> dict[str, Any]:
        """What `bridge drain` says of a member's session."""
        with self.member(name, "drain") as process:
            out, _ = process.communicate(timeout=90)
            assert process.returncode == 0, self.log(name).read_text()
        told: dict[str, Any] = orjson.loads(out)
        return told

    def has_session(self, name: str) -> bool:
        b = self.config.bridge

        async def ask() -> bool:
            session = mqtt.Session(f"headrace-{self.name}-{name}", b.session_expiry_seconds, 30, 1, b.max_payload_bytes)
            connection = await mqtt.connect(self.config.mqtt, session)
            found = connection.terms.session_present
            await connection.disconnect(forget=not found)
            return found

        return asyncio.run(ask())

    def stored_ids(self) -> list[bytes]:
        """The event id of each record in `.raw`."""
        client = partition.reader(self.config.kafka)
        try:
            found = partition.read(client, f"{self.name}.raw", 0)
            return [provenance(kafka.headers_of(m)).event_id or b"" for m in found]
        finally:
            client.close()


class Fleet:
    """Devices that publish numbered readings until told to stop; `ids` are the event ids of those acknowledged."""

    def __init__(self, group: Group) -> None:
        self.ids: set[bytes] = set()
        self._group = group
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        sent: set[bytes] = set()
        async with Publisher(self._group.config.mqtt, f"{self._group.name}-devices") as publisher:
            n = 0
            while not self._stop.is_set():
                topic = f"{self._group.name}/dev-{n % DEVICES}/imu"
                payload = orjson.dumps({**GOOD, "event_time": GOOD["event_time"] + n})
                await publisher.send(topic, payload)
                sent.add(event_ids(topic.encode(), payload, 1)[0])
                n += 1
                await asyncio.sleep(1 / RATE)
        self.ids = sent  # the publisher waits for every acknowledgement as it ends


def all_stored(group: Group, ids: set[bytes], seconds: float = 30) -> set[bytes]:
    """The ids that are missing in `.raw`, once none is or the time is up."""
    missing = ids
    for _ in range(int(seconds * 2)):
        if not (missing := ids - set(group.stored_ids())):
            break
        time.sleep(0.5)
    return missing


@contextmanager
def trio(group: Group) -> Iterator["subprocess.Popen[str]"]:
    """Members a, b and c, which receive; the first of them is given."""
    with ExitStack() as members:
        first, *_ = [members.enter_context(group.member(n)) for n in "abc"]
        group.wait_receiving("abc")
        yield first


def test_one_of_three_killed_for_good_loses_nothing_once_its_session_is_drained(stack: Stack, tmp_path: Path) -> None:
    group = Group(stack, tmp_path, receive_maximum=50)  # what waits is more than comes at once
    with trio(group) as one:
        assert "another order" in group.log("a").read_text()
        with Fleet(group) as fleet:
            time.sleep(2)
            one.kill()
            one.wait()
            time.sleep(3)
        missing = all_stored(group, fleet.ids, 3)
        assert missing, "a part of what came meanwhile waits for the one that is gone"
        told = group.drain("a")
        assert told["found"]
        assert told["messages"] >= len(missing)
        assert not all_stored(group, fleet.ids)
        assert set(group.stored_ids()) == fleet.ids
        assert not group.has_session("a")
        with Fleet(group) as fleet:
            time.sleep(1)
        assert not all_stored(group, fleet.ids), "nothing more is dealt to it"
    assert group.drain("a") == {"client_id": f"headrace-{group.name}-a", "found": False, "messages": 0}


@pytest.mark.long
def test_a_member_that_comes_back_with_its_id_has_what_was_dealt_to_it_meanwhile(stack: Stack, tmp_path: Path) -> None:
    group = Group(stack, tmp_path)
    with trio(group) as one, ExitStack() as members:
        with Fleet(group) as fleet:
            time.sleep(1)
            one.send_signal(signal.SIGTERM)
            assert one.wait(30) == 0
            time.sleep(1)
            again = members.enter_context(group.member("a"))
            group.wait_receiving("a", 2)
            time.sleep(1)
            again.kill()
            again.wait()
            time.sleep(1)
            members.enter_context(group.member("a"))
            group.wait_receiving("a", 3)
        assert not all_stored(group, fleet.ids)


@pytest.mark.long
def test_a_member_that_leaves_at_sigterm_leaves_nothing_behind(stack: Stack, tmp_path: Path) -> None:
    group = Group(stack, tmp_path, leave=True)
    with trio(group) as one:
        with Fleet(group) as fleet:
            time.sleep(1)
            one.send_signal(signal.SIGTERM)
            assert one.wait(30) == 0
            time.sleep(1)
        assert not all_stored(group, fleet.ids)
        assert len(group.stored_ids()) == len(fleet.ids), "nor twice, where its two filters overlap"
    assert not group.has_session("a")


@pytest.mark.long
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 1), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_drain_that_is_broken_off_goes_on_with_the_next(
    stack: Stack, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    group = Group(stack, tmp_path)
    with group.member("a") as one:
        group.wait_receiving("a")
        one.kill()
        one.wait()
        with Fleet(group) as fleet:
            time.sleep(1)
    with group.member("a", "drain") as drain:
        group.wait_logged("a", "leaving: unsubscribed")
        drain.send_signal(how)
        assert drain.wait(40) == code
    assert group.drain("a")["found"]
    assert set(group.stored_ids()) == fleet.ids


@pytest.mark.long
def test_the_session_of_a_bridge_from_before_is_drained_whatever_its_name(stack: Stack, tmp_path: Path) -> None:
    own = Own(stack, tmp_path)
    own.provision()
    old = f"plant-bridge-{own.name}"  # no bridge may be called so now: a device may
    topic, n = f"{own.name}/dev-1/imu", 300
    payloads = [orjson.dumps({**GOOD, "event_time": GOOD["event_time"] + i}) for i in range(n)]

    async def leave_a_session_behind() -> None:
        b = own.config.bridge
        session = mqtt.Session(old, b.session_expiry_seconds, 30, 10, b.max_payload_bytes)
        connection = await mqtt.connect(own.config.mqtt, session)
        connection.subscribe([mqtt.Subscription(f"{own.name}/+/imu", 1)], [])
        while not connection.subscribed:
            await connection.receive()
        connection.abort()

    asyncio.run(leave_a_session_behind())
    own.publish(*[("dev-1/imu", payload) for payload in payloads])
    env = {**os.environ, "HEADRACE_BRIDGE__CLIENT_ID": old}
    told = subprocess.run(
        [sys.executable, "-m", "bridge", "drain", "--config", str(own.path)],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    assert orjson.loads(told.stdout) == {"client_id": old, "found": True, "messages": n}
    refused = subprocess.run(
        [sys.executable, "-m", "bridge", "--config", str(own.path)],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "begin it with headrace" in refused.stderr
    client = partition.reader(own.config.kafka)
    try:
        found = partition.read(client, f"{own.name}.raw", 0)
        assert [provenance(kafka.headers_of(m)).event_id for m in found] == [
            event_ids(topic.encode(), payload, 1)[0] for payload in payloads
        ]
    finally:
        client.close()
