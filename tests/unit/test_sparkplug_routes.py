"""Routes of Sparkplug: a group's whole namespace, what is heard beside it, and who may say what at the broker."""

from typing import Any

import pytest

from bridge import routing
from headrace.config import Config, check, identities
from headrace.config.check import Service
from headrace.operate import mqttaccess
from headrace.operate.behaviour import Topics
from headrace.runtime.metrics import BRIDGE_SPARKPLUG
from tests.edgenode import BOOLEAN, EdgeNode, Message, metric, number, payload
from tests.unit.intake_world import Packet, World, skipped

DEVICES = {
    "filter": "spBv1.0/plant/+/{gateway}/{device_id}", "identity": "gateway", "format": "sparkplug",
    "unknown_fields": "ignore",
}  # fmt: skip
NODES = {**DEVICES, "filter": "spBv1.0/plant/+/{gateway}", "device": {"topic": "{gateway}"}}
METRICS = {"sparkplug": {"metrics": {"T": "temperature", "H": "humidity"}}}


def world(*routes: dict[str, Any], **bridge: Any) -> World:
    streams = {"environment": {"routes": [{**r, **METRICS} for r in routes]}}
    return World(unrouted=bridge.pop("unrouted", ()), streams=streams, bridge=bridge)


def node() -> EdgeNode:
    return EdgeNode("plant", "gw-1", {"d-1": {"T": 1, "H": 2}, "d-2": {"T": 3}})


def gap_count() -> float:
    return float(BRIDGE_SPARKPLUG.labels("gap")._value.get())


def take(it: World, *messages: Message, **packet: Any) -> list[tuple[str, bytes, str]]:
    packets = [Packet(topic, data, qos=0, **packet) for topic, data in messages]
    return [(r.topic, r.key, r.headers.get("reason", b"").decode()) for r in it.take(*packets)]


def test_one_route_for_devices_hears_the_whole_edge_node_and_counts_no_gap() -> None:
    it, sender = world(DEVICES), node()
    assert [s.filter for s in it.routing.subscriptions] == ["spBv1.0/plant/+/+/#"]
    gaps, heard = gap_count(), skipped("heard")
    births = [("environment.raw", b"d-1", ""), ("environment.raw", b"d-2", "")]
    assert take(it, *sender.births()) == births, "the edge node's own birth is heard alone"
    own = sender._message("NDATA", "", metric("uptime", number(11, 7), datatype=4))
    assert take(it, own, sender.data("d-1", T=21.5), sender.data("d-2", T=3.0)) == births
    ((topic, _, reason),) = take(it, sender.device_death("d-2"), sender.data("d-2", T=3.0))
    assert (topic, reason) == ("dead-letters", "unknown_alias")
    assert gap_count() == gaps
    assert skipped("heard") == heard + 2
    assert it.wanted == [("plant", "gw-1")]


def test_two_routes_take_a_group_s_whole_namespace() -> None:
    it, sender = world(DEVICES, NODES), node()
    own = sender._message("NDATA", "", metric("T", number(10, 7), datatype=3))
    assert take(it, own) == [("environment.raw", b"gw-1", "")], "the edge node is a device too"
    assert take(it, *sender.births())[-2:] == [("environment.raw", b"d-1", ""), ("environment.raw", b"d-2", "")]


def test_commands_and_deaths_are_no_readings_and_are_counted() -> None:
    it, sender = world(DEVICES, NODES), node()
    before = skipped("command"), skipped("death")
    setting = payload(metric("T", number(10, 7), datatype=3), seq=None)
    rebirth = payload(metric("Node Control/Rebirth", number(14, 1), datatype=BOOLEAN), seq=None)
    take(it, *sender.births())
    assert take(
        it,
        ("spBv1.0/plant/DCMD/gw-1/d-1", setting), ("spBv1.0/plant/NCMD/gw-1", rebirth),
        ("spBv1.0/plant/NCMD/never-heard", rebirth),
        sender.device_death("d-1"), sender.death(),
    ) == []  # fmt: skip
    assert (skipped("command") - before[0], skipped("death") - before[1]) == (3, 2)
    assert it.wanted == []


def test_a_copy_that_the_broker_had_kept_teaches_nothing() -> None:
    it, sender = world(DEVICES), node()
    assert take(it, *sender.births(), retain=True) == []
    ((topic, _, reason),) = take(it, sender.data("d-1", T=1.0))
    assert (topic, reason) == ("dead-letters", "unknown_alias")


def test_what_is_dropped_while_kafka_has_no_room_is_heard_all_the_same() -> None:
    it, sender, before = world(DEVICES, qos0_queue=1), node(), skipped("qos0_full")
    gaps = gap_count()
    assert len(take(it, *sender.births(), *(sender.data("d-1", T=float(i)) for i in range(3)))) == 1
    it.kafka.qos0_in_flight = 0
    assert take(it, sender.data("d-2", T=1.0)) == [("environment.raw", b"d-2", "")]
    assert (skipped("qos0_full") - before, gap_count()) == (4, gaps)


def test_a_message_for_two_streams_is_heard_once_in_each() -> None:
    both = {n: {"contract": "environment", "routes": [{**DEVICES, **METRICS}]} for n in ("one", "two")}
    it, sender = World(streams=both, bridge={"unrouted": ["spBv1.0/#"]}), node()
    gaps = gap_count()
    topics = [t for t, _, _ in take(it, *sender.births(), sender.data("d-1", T=1.0), sender.data("d-1", H=1.0))]
    assert sorted(topics) == ["one.raw"] * 4 + ["two.raw"] * 4
    assert gap_count() == gaps


def test_a_route_that_does_not_learn_subscribes_to_itself_alone_and_goes_by_its_own_table() -> None:
    settings = {"learn": False, "metrics": {"1": {"field": "temperature", "type": "Double"}}}
    alone = World(unrouted=(), streams={"environment": {"routes": [{**DEVICES, "sparkplug": settings}]}})
    assert [s.filter for s in alone.routing.subscriptions] == ["spBv1.0/plant/+/+/+"]
    sender = node()
    sender.births()
    first, second = take(alone, sender.data("d-1", T=1.0), sender.data("d-1", H=1.0))
    assert (first[0], second[2]) == ("environment.raw", "unknown_alias")
    assert b"Births are not known here" in alone.kafka.produced[-1].headers["detail"]
    assert alone.wanted == []


def config_of(*routes: dict[str, Any]) -> Config:
    return Config.model_validate({"streams": {"environment": {"routes": list(routes)}}})


def problems(*routes: dict[str, Any], **bridge: Any) -> list[str]:
    streams = {"environment": {"routes": list(routes)}}
    return check.problems(Config.model_validate({"streams": streams, "bridge": bridge}), [Service.BRIDGE])


def test_what_can_not_work_is_refused_before_it_starts() -> None:
    assert problems(DEVICES, NODES) == []
    (group,) = problems(DEVICES, shared_group="g")
    assert "set learn: false here" in group
    assert problems({**DEVICES, "sparkplug": {"learn": False}}, shared_group="g") == []
    (own,) = problems({"filter": "spBv1.0/plant/+/+/{device_id}", "format": "sparkplug"})
    assert "identity: gateway" in own
    with pytest.raises(ValueError, match="not compressed as a whole"):
        problems({**DEVICES, "compression": "gzip"})


def test_the_broker_lets_an_edge_node_publish_its_births_and_read_its_own_commands_only() -> None:
    config = Config.model_validate(
        {"streams": {"environment": {"routes": [{**DEVICES, "filter": "spBv1.0/plant/DDATA/{gateway}/{device_id}"}]}}}
    )
    lines = mqttaccess.devices(config, ["gw-1"]).splitlines()
    assert lines[lines.index("user gw-1") + 1 :] == [
        "topic write spBv1.0/plant/DDATA/gw-1/+", "topic write spBv1.0/plant/+/gw-1/#",
        "topic read spBv1.0/plant/NCMD/gw-1", "topic read spBv1.0/plant/DCMD/gw-1/#",
    ]  # fmt: skip
    assert [s.filter for s in routing.build(config).subscriptions] == ["spBv1.0/plant/+/+/#"]
    assert "spBv1.0/plant/+/+/#" in identities.filters_of(config), "so that it is unsubscribed when the route goes"
    alone = Config.model_validate(
        {"streams": {"environment": {"routes": [{"filter": "spBv1.0/{site}/+/{device_id}", "format": "sparkplug"}]}}}
    )
    assert [line for line in mqttaccess.devices(alone).splitlines() if "spBv1.0" in line] == [
        "pattern write spBv1.0/+/+/%u", "pattern write spBv1.0/+/+/%u/#",
        "pattern read spBv1.0/+/NCMD/%u", "pattern read spBv1.0/+/DCMD/%u/#",
    ]  # fmt: skip


def test_what_is_heard_beside_routes_is_not_held_against_the_edge_node() -> None:
    config = config_of(DEVICES)
    topics = Topics(config)
    assert topics.of("spBv1.0/plant/NBIRTH/gw-1") == (0, "gw-1", True)
