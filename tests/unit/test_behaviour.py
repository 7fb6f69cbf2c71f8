"""What devices do at the broker, counted over a minute, and who it was."""

import asyncio
import threading
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from headrace.config import Config
from headrace.config.behaviour import Act, Behaviour, Told
from headrace.config.check import Service, problems
from headrace.mqtt.packets import PublishPacket
from headrace.operate import brokeragent
from headrace.operate.behaviour import LOGIN_SECONDS, Arrivals, Counts, Fact, Topics, subscriber
from headrace.operate.brokerwatch import MOST, REPORT_SECONDS, DeviceWatch
from tests.waiting import until

SERVICES = 1884


def config(**more: object) -> Config:
    routes = [{"filter": "sensors/{device_id}/imu"}, {"filter": "gw/{gateway}/{device_id}/up", "identity": "gateway"}]
    bridge = {"unrouted": ["sensors/#"]}
    return Config.model_validate({"streams": {"imu": {"routes": routes}}, "bridge": bridge, "hub": {"behaviour": more}})


def test_what_is_older_than_a_minute_does_not_count_and_who_goes_over_is_told_once() -> None:
    counts = Counts({"messages": 100})
    assert not counts.add("messages", "a", 60, 0.0)
    assert not counts.add("messages", "a", 40, 30.0)
    assert counts.over() == []
    assert counts.add("messages", "a", 1, 59.0)
    assert not counts.add("messages", "a", 1, 59.5)
    assert counts.over() == [Fact("messages", "a", 102)]
    counts.forget(61.0)
    assert counts.over() == []
    assert not counts.add("messages", "a", 58, 80.0)
    assert counts.add("messages", "a", 1, 81.0)
    assert not counts.add("bytes", "a", 10**9, 81.0), "a rule that is off counts nothing"
    counts.forget(1000.0)
    assert not counts._sums
    assert not counts._steps


@pytest.mark.parametrize("stamp", ["", "2026-11-27T04:00:00: ", "1795752980: "])
def test_the_log_says_who_comes_in_and_who_does_not(stamp: str) -> None:
    counts = Counts({"connects": 1, "refused": 1})
    arrivals = Arrivals(counts, SERVICES)

    def say(line: str, now: float = 0.0) -> bool:
        return arrivals.take(stamp + line, now)

    for n in range(2):
        say(f"New connection from 10.0.0.1:{n} on port 1883.")
        over = say(f"New client connected from 10.0.0.1:{n} as board-01 (p5, c1, k60, u'board-01').")
        assert over == (n == 1)
        say(f"New connection from 10.0.0.1:{10 + n} on port {SERVICES}.")
        say(f"New client connected from 10.0.0.1:{10 + n} as headrace-bridge (p5, c0, k30, u'headrace').")
        say(f"New client connected from 10.0.0.1:{10 + n} as tool (p5, c0, k30, u'headrace').")
        say(f"New connection from ::1:{n} on port 1883.")
    say("Client <unknown> disconnected, not authorised.")
    assert counts.over() == [Fact("connects", "board-01", 2)]
    assert not arrivals.due(LOGIN_SECONDS - 1)
    assert arrivals.due(LOGIN_SECONDS)
    assert counts.over() == [Fact("connects", "board-01", 2), Fact("refused", "::1", 2)]


def test_a_client_can_not_have_the_log_speak_of_another() -> None:
    counts = Counts({"connects": 0})
    arrivals = Arrivals(counts, SERVICES)
    forged = "New client connected from 1.1.1.1:1 as board-01 (p5, c1, k60, u'board-01')."
    for line in (f"Client {forged} disconnected.", f"Client x\n{forged}", f"x 0 {forged}", forged + "\nmore"):
        assert not arrivals.take(line, 0.0)
    odd = "New client connected from 1.1.1.1:1 as x (p5, c1, k6, u'x'). as board-01 (p5, c1, k60, u'board-01')."
    assert not arrivals.take(odd, 0.0)


def test_a_topic_says_whose_message_it_brings_and_a_message_counts_once() -> None:
    topics = Topics(config())
    assert sorted(topics.filters) == ["gw/+/+/up", "sensors/+/#"]
    sensors, gateways = topics.filters.index("sensors/+/#"), topics.filters.index("gw/+/+/up")
    assert topics.of("sensors/board-01/imu") == (sensors, "board-01", True)
    assert topics.of("sensors/board-01/imo") == (sensors, "board-01", False)
    assert topics.of("gw/hall/board-07/up") == (gateways, "hall", True)
    assert topics.of("sensors/headrace/imu") is None
    assert topics.of("other/board-01") is None


def test_who_may_be_one_of_two_is_nobody() -> None:
    routes = [{"filter": "gw/{gateway}/+/up", "identity": "gateway"}, {"filter": "gw/+/{device_id}/+"}]
    topics = Topics(Config.model_validate({"streams": {"imu": {"routes": routes}}}))
    assert topics.of("gw/hall/board-07/down") == (1, "board-07", True)
    assert topics.of("gw/hall/board-07/up") is None


def test_each_subscription_counts_for_the_device_that_asks_for_it() -> None:
    for topic in ("receipts/board-01/x y", "#", "$share/g/sensors/#", "a b\nc"):
        assert subscriber(f"1795752980: board-01 1 {topic}") == "board-01"
        assert subscriber(f"board-01 0 {topic}") == "board-01"
    assert subscriber("headrace-bridge-7 1 sensors/#") == ""


def nobody(_facts: list[Fact]) -> list[str]:
    """A hub that shuts nobody out."""
    return []


def packet(topic: str, payload: bytes = b"", *, number: int | None = None) -> PublishPacket:
    return PublishPacket(topic, payload, subscription_ids=[] if number is None else [number])


def test_rules_that_are_off_cost_no_subscription() -> None:
    off = {"action": "none"}
    filters = [s.filter for s in DeviceWatch(config(bytes=off, messages=off, unrouted=off), nobody).subscriptions()]
    assert filters == ["$SYS/broker/log/#"]
    assert all(s.live for s in DeviceWatch(config(), nobody).subscriptions())
    assert len(DeviceWatch(config(), nobody).subscriptions()) == 3


def test_bytes_messages_and_strays_are_counted_for_each_device() -> None:
    watch = DeviceWatch(config(bytes={"most": 10_000}, messages={"most": 3}, unrouted={"most": 1}), nobody)
    one = watch._topics.filters.index("sensors/+/#") + 1
    watch.take([packet("sensors/a/imu", bytes(10_000), number=one)], 0.0)
    watch.take([packet("sensors/b/imu", b"1", number=one), packet("sensors/b/imu", b"1", number=one + 1)] * 3, 0.0)
    watch.take([packet("sensors/c/imo", b"1", number=one)] * 2, 0.0)
    assert watch._counts.over() == [Fact("bytes", "a", 10_000 + len("sensors/a/imu")), Fact("unrouted", "c", 2)]


def test_the_broker_is_to_forget_what_devices_publish_with_the_retain_flag_unless_a_route_wants_it() -> None:
    base = config(messages={"most": 1})
    keeping = base.streams["imu"].routes[1].model_copy(update={"retained": "keep"})
    stream = base.streams["imu"].model_copy(update={"routes": (base.streams["imu"].routes[0], keeping)})
    watch = DeviceWatch(base.model_copy(update={"streams": {"imu": stream}}), nobody)
    watch.begin()
    old = [PublishPacket(f"sensors/a/{n}", b"x", retain=True) for n in range(9)]
    assert watch.take(old, 0.0) == {p.topic for p in old}
    assert watch._counts.over() == [], "from before: not what the device does now"
    watch.settle()
    assert watch.take([PublishPacket("gw/g/a/up", b"x", retain=True)], 0.0) == set()
    assert watch.take([PublishPacket("sensors/a/1", b"", retain=True), packet("sensors/a/2", b"x")], 0.0) == set()
    assert watch._counts.over() == [Fact("messages", "a", 2)]


def test_who_goes_over_is_reported_at_once_and_then_now_and_again() -> None:
    told: list[list[Fact]] = []

    def report(facts: list[Fact]) -> list[str]:
        told.append(facts)
        return []

    watch = DeviceWatch(config(messages={"most": 1}), report)

    async def main() -> None:
        watch.step(100.0)
        await watch.end()
        assert told == [[]], "an empty report says that somebody watches"
        watch.take([packet("sensors/a/imu")] * 2, 100.1)
        watch.step(100.2)
        await watch.end()
        watch.take([packet("sensors/a/imu")] * 2, 100.3)
        watch.step(100.4)
        await watch.end()
        assert told[1:] == [[Fact("messages", "a", 2)]]
        watch.step(100.2 + REPORT_SECONDS)
        await watch.end()
        assert told[2:] == [[Fact("messages", "a", 4)]]
        watch.take([packet(f"sensors/d{n}/imu") for n in range(MOST + 9) for _ in range(2)], 111.0)
        watch.step(111.0)
        await watch.end()
        assert len(told[3]) == MOST

    asyncio.run(main())


def test_a_new_connection_goes_on_counting_and_takes_nobody_for_refused_whom_it_did_not_see() -> None:
    watch = DeviceWatch(config(messages={"most": 5}, refused={"most": 0}), nobody)
    watch.take([packet("sensors/a/imu")] * 5, 0.0)
    watch.take([packet("$SYS/broker/log/N", b"New connection from 1.1.1.1:1 on port 1883.")], 0.0)
    watch.begin()
    watch.take([packet("sensors/a/imu")], 1.0)
    assert not watch._arrivals.due(LOGIN_SECONDS + 1)
    assert watch._counts.over() == [Fact("messages", "a", 6)]


def test_who_was_shut_out_and_comes_in_again_counts_anew() -> None:
    async def main() -> None:
        watch = DeviceWatch(config(messages={"most": 1}), lambda facts: [fact.who for fact in facts])
        watch.take([packet("sensors/a/imu"), packet("sensors/b/imu")] * 9, 0.0)
        watch.step(0.1)
        await watch.end()
        watch.step(0.2)
        watch.take([packet("sensors/a/imu")] * 9, 0.3)  # what was still on its way
        assert watch._arrivals.shut == {"a", "b"}
        line = b"New client connected from 1.1.1.1:1 as a (p5, c1, k60, u'a')."
        watch.take([packet("$SYS/broker/log/N", line), packet("sensors/a/imu")], 20.0)
        assert watch._counts.over() == [Fact("messages", "b", 9)]
        watch.take([packet("sensors/a/imu")], 21.0)
        assert watch._counts.over() == [Fact("messages", "a", 2), Fact("messages", "b", 9)]
        watch._counts.forget(70.0)
        assert watch._counts.over() == [Fact("messages", "a", 2)]

    asyncio.run(main())


def test_the_agent_ends_when_its_watch_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a mistake in the watch")

    monkeypatch.setattr("headrace.operate.brokerwatch.mqtt.connect", broken)
    hub = {"url": "http://127.0.0.1:9", "token": "t"}
    base = Config.model_validate({"streams": {"imu": {"routes": ["sensors/{device_id}/imu"]}}, "hub": hub})
    place = brokeragent.Place(tmp_path, tmp_path / "pid", None, "127.0.0.1", 0)
    with pytest.raises(RuntimeError, match="a mistake in the watch"):
        brokeragent.main(place, None, base, threading.Event())
    until(lambda: not [t for t in threading.enumerate() if t.name == "agent"], 60, "the other thread has ended too")


def test_no_rule_that_can_not_be_is_taken() -> None:
    cases: tuple[dict[str, Any], ...] = (
        {"silence": {"action": "quarantine"}}, {"refused": {"action": "quarantine"}}, {"bytes": {"most": 0}},
        {"connects": {"action": "ban"}}, {"silence": {"most": 60, "action": "event"}}, {"speed": {}},
    )  # fmt: skip
    for wrong in cases:
        with pytest.raises(ValidationError):
            Behaviour.model_validate(wrong)
    never = Config.model_validate({"hub": {"behaviour": {"quarantines_per_hour": 0}}})
    for service in (Service.HUB, Service.BROKER):
        assert any("hub.behaviour.quarantines_per_hour" in p for p in problems(never, [service]))


def test_no_action_is_a_word_that_yaml_reads_as_something_else() -> None:
    for word in (*get_args(Act), *get_args(Told)):
        assert yaml.safe_load(word) == word
